"""The README's first command: set everything up, then ask a real model a real question.

usage: python3 tools/first.py [QUESTION...]
"""

from __future__ import annotations

import subprocess
import sys

from setup_venv import ready


def main() -> int:
    python = ready(dev=False)
    question = " ".join(sys.argv[1:]) or "Why is the sky blue? Answer in two sentences."
    # The default model is very small and now and then repeats itself until the context is full.
    words = ["run", "--stats", "--option", "num_predict=300", "smollm2", question]
    return subprocess.run([str(python), "-m", "inhouse", *words], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
