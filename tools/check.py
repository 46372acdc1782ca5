"""The README's second command: set everything up and pass all checks.

usage: python3 tools/check.py [PYTEST ARGUMENTS...]

With arguments only pytest runs, with them; without, lint, types and every test with coverage.
"""

from __future__ import annotations

import subprocess
import sys

from setup_venv import PYTHON, ROOT, ready, run, say


def main() -> int:
    ready(dev=True)
    if sys.argv[1:]:
        run(PYTHON, "-m", "pytest", *sys.argv[1:])
        return 0
    for words in (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]):
        say(f"$ {' '.join(words)}")
        run(PYTHON, "-m", *words)
    for stale in ROOT.glob(".coverage*"):
        stale.unlink()
    run(PYTHON, "-m", "coverage", "run", "-m", "pytest", "-q")
    # A server that a test killed may have left half a data file: combine what is whole.
    subprocess.run([str(PYTHON), "-m", "coverage", "combine", "-q"], cwd=ROOT, check=False)
    run(PYTHON, "-m", "coverage", "report")
    say("$ tools/clients.py")
    run(PYTHON, ROOT / "tools" / "clients.py")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
