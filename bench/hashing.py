"""Does verifying a model run at the speed of the disk?

usage: python bench/hashing.py [--size 1024] [--rounds 5] [--variants]

A file of random bytes is hashed in turn by ``sha256sum`` (as a process, as a user would) and by the store's
``hash_file``; the file is in the page cache, so that hashing and copying are what counts, not the disk. Many builds of
``sha256sum`` do not use the processor's own instructions for it, so ``openssl`` stands beside it.
Target: at least 0.9 of ``sha256sum``. ``--variants`` compares ways to write the loop.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from common import hardware, shown

from inhouse.store.layout import hash_file

MIB = 2**20


def sha256sum(path: Path) -> str:
    words = ["sha256sum"] if shutil.which("sha256sum") else ["shasum", "-a", "256"]
    return subprocess.run([*words, str(path)], capture_output=True, text=True, check=True).stdout.split()[0]


def openssl(path: Path) -> str:
    words = ["openssl", "dgst", "-sha256", "-r", str(path)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[0]


def file_digest(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def into(size: int) -> Callable[[Path], str]:
    """Read into one buffer again and again."""

    def run(path: Path) -> str:
        digest = hashlib.sha256()
        buffer = bytearray(size)
        view = memoryview(buffer)
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                digest.update(view[:count])
        return digest.hexdigest()

    return run


def ahead(size: int, depth: int = 3) -> Callable[[Path], str]:
    """A second thread reads while the first one hashes: both let go of the interpreter."""

    def run(path: Path) -> str:
        free: SimpleQueue[bytearray] = SimpleQueue()
        full: SimpleQueue[tuple[bytearray, int]] = SimpleQueue()
        for _ in range(depth):
            free.put(bytearray(size))

        def read() -> None:
            with path.open("rb", buffering=0) as file:
                while True:
                    buffer = free.get()
                    count = file.readinto(buffer)
                    full.put((buffer, count or 0))
                    if not count:
                        return

        thread = threading.Thread(target=read)
        thread.start()
        digest = hashlib.sha256()
        while True:
            buffer, count = full.get()
            if not count:
                break
            digest.update(memoryview(buffer)[:count])
            free.put(buffer)
        thread.join()
        return digest.hexdigest()

    return run


VARIANTS: dict[str, Callable[[Path], str]] = {
    "file_digest": file_digest,
    "readinto 256 KiB": into(MIB // 4),
    "readinto 1 MiB": into(MIB),
    "readinto 4 MiB": into(4 * MIB),
    "read ahead 1 MiB": ahead(MIB),
    "read ahead 4 MiB": ahead(4 * MIB),
}


def rates(runs: dict[str, Callable[[Path], str]], path: Path, rounds: int) -> dict[str, list[float]]:
    """MB/s of each, taken in turns so that a busy moment hits all alike."""
    wanted = sha256sum(path)
    size = path.stat().st_size
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            digest = run(path)
            found[name].append(size / (time.perf_counter() - began) / 1e6)
            if digest != wanted:
                raise SystemExit(f"{name} computed another digest")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--variants", action="store_true")
    args = parser.parse_args()
    print(hardware())
    runs: dict[str, Callable[[Path], str]] = {"sha256sum": sha256sum, "hash_file": hash_file}
    runs |= {"openssl": openssl} if shutil.which("openssl") else {}
    runs |= VARIANTS if args.variants else {}
    with tempfile.TemporaryDirectory(prefix="inhouse-bench-") as folder:
        path = Path(folder) / "weights.bin"
        with path.open("wb") as file:
            for _ in range(args.size):
                file.write(os.urandom(MIB))
        found = rates(runs, path, args.rounds)
    base = statistics.median(found["sha256sum"])
    print(f"\nsha256 of {args.size} MiB, MB/s")
    for name, values in found.items():
        print(f"  {name:18s} {shown(values)}   x{statistics.median(values) / base:.2f} of sha256sum")


if __name__ == "__main__":
    main()
