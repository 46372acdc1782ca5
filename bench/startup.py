"""How quick is the command line, how heavy an idle server?

usage: python bench/startup.py

Targets: --version under 0.15 s, list under 0.4 s against a running server, idle server under 120 MB resident.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
from common import hardware, server, shown

INHOUSE = str(Path(sys.executable).parent / "inhouse")


def timed(words: list[str], env: dict[str, str]) -> list[float]:
    times = []
    for _ in range(15):
        began = time.perf_counter()
        subprocess.run(words, env=env, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return times


def main() -> None:
    print(hardware())
    with server(INHOUSE_ENGINE="fake") as running:
        floor = timed([sys.executable, "-c", "pass"], running.env)
        for words in (["--version"], ["list"], ["--help"]):
            times = timed([INHOUSE, *words], running.env)
            ratio = statistics.median(times) / statistics.median(floor)
            print(f"inhouse {' '.join(words):10s} {shown(times)} s, x{ratio:.1f} of starting Python")
        resident = psutil.Process(running.process.pid).memory_info().rss
        print(f"idle server        {resident / 1e6:.0f} MB resident")


if __name__ == "__main__":
    main()
