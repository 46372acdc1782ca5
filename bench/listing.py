"""How long does it take to list many models?

usage: python bench/listing.py [--models 500]

Stores one tiny model under many names and asks for them in turn: `inhouse list` against a running server, the store
read for the first time in a process, and `cat` of the same manifests. Target: `list` with 500 models under 0.3 s.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from common import hardware, server, shown

from inhouse.core.models import ModelName
from inhouse.store import Store
from support.pulls import put
from support.tiny_gguf import model

INHOUSE = str(Path(sys.executable).parent / "inhouse")


def filled(home: Path, count: int) -> list[str]:
    """Store ``count`` models; the paths of their manifests."""
    put(home, "m0:1b", model(1))
    store = Store(home)
    for n in range(1, count):
        store.copy(ModelName.parse("m0:1b"), ModelName.parse(f"m{n}:1b"))
    return [str(path) for path in store.layout.manifest_paths()]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--models", type=int, default=500)
    count = options.parse_args().models
    print(hardware())
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        manifests = filled(home, count)
        times: dict[str, list[float]] = {"inhouse list": [], "a cold store": [], "cat": []}
        with server(INHOUSE_HOME=str(home), INHOUSE_ENGINE="fake") as running:
            ways = {
                "inhouse list": lambda: subprocess.run(
                    [INHOUSE, "list"], env=running.env, check=True, capture_output=True
                ),
                "a cold store": lambda: Store(home).cards(),
                "cat": lambda: subprocess.run(["cat", *manifests], check=True, capture_output=True),
            }
            for _ in range(11):
                for name, way in ways.items():
                    began = time.perf_counter()
                    way()
                    times[name].append(time.perf_counter() - began)
        for name, values in times.items():
            print(f"{name:14s} {shown(values)} s with {count} models")


if __name__ == "__main__":
    main()
