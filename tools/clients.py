"""Programs and libraries of others against a real server of ours; each set has an environment of its own.

usage: .venv/bin/python tools/clients.py [SET...] [-- PYTEST ARGUMENTS...]

The sets are the folders of tests/clients; some libraries need an older version of what others need.
Small real models answer, and on a second server the fake engine; the tests themselves know only the URLs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from setup_venv import ROOT, environment, say

TESTS = ROOT / "tests" / "clients"
SETS = {"current": "requirements-clients.lock", "older": "requirements-clients-older.lock"}
MODELS = {"SMALL": "smollm2", "CODER": "qwen2.5-coder:0.5b", "EMBEDDER": "smollm2"}


def main() -> int:
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    chosen, more = words[:cut] or list(SETS), words[cut + 1 :]
    sys.path.insert(0, str(ROOT / "tests"))
    from support.models import borrowed_home
    from support.running import serving

    pythons = {
        name: environment(ROOT / f".venv-clients-{name}", ROOT / SETS[name], "clients", ourselves=False)
        for name in chosen
    }
    with tempfile.TemporaryDirectory(prefix="inhouse-clients-") as folder:
        home = borrowed_home(Path(folder), *MODELS.values())
        options = {
            "INHOUSE_ENGINE": "wheel",
            "INHOUSE_SLOTS": "2",
            "INHOUSE_CONTEXT_LENGTH": "4096",
            "INHOUSE_API_KEY": "sk-of-the-tests",
        }
        with (
            serving(home, **options) as server,
            serving(Path(folder) / "fake", INHOUSE_ENGINE="fake") as fake,
        ):
            env = {
                **{k: v for k, v in os.environ.items() if not k.startswith(("INHOUSE_", "COV"))},
                "INHOUSE_CLIENTS_URL": f"http://127.0.0.1:{server.port}",
                "INHOUSE_CLIENTS_KEY": options["INHOUSE_API_KEY"],
                "INHOUSE_CLIENTS_FAKE_URL": f"http://127.0.0.1:{fake.port}",
                **{f"INHOUSE_CLIENTS_{what}": name for what, name in MODELS.items()},
            }
            codes = []
            for name, python in pythons.items():
                say(f"$ clients: {name}")
                ini = str(TESTS / "pytest.ini")
                command = [str(python), "-m", "pytest", "-q", "-c", ini, *more, str(TESTS / name)]
                codes.append(subprocess.run(command, cwd=TESTS, env=env, check=False).returncode)
    return max(codes)


if __name__ == "__main__":
    raise SystemExit(main())
