"""How fast does a file come in, hash and sync included, beside ``sha256sum`` and ``curl -o`` of the same?

usage: python bench/transfer.py [--size 1000] [--rounds 5] [--streams 4] [--folder DIR]

A loopback server (sendfile, ranges) in its own process serves a file of random bytes. Each round runs,
interleaved: ``sha256sum FILE``; ``curl -o``; ``curl -o`` and then sync, which is what a store must do;
and our download. Target: at least 0.9 of the slower of ``sha256sum`` and ``curl``.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from common import hardware, shown

from inhouse.net import Client
from inhouse.store.sources.base import Asset, Policy, Watch

MB = 1_000_000


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends one file, or a range of it, from the page cache."""

    protocol_version = "HTTP/1.1"
    path_of_file = ""

    def do_GET(self) -> None:
        with open(self.path_of_file, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            start, end = (int(match[1]), min(int(match[2]) + 1, size)) if match else (0, size)
            self.send_response(206 if match else 200)
            if match:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            self.send_header("Content-Length", str(end - start))
            self.send_header("ETag", '"1"')
            self.end_headers()
            self.wfile.flush()
            while start < end:
                start += os.sendfile(self.connection.fileno(), file.fileno(), start, end - start)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving(path: Path) -> Iterator[str]:
    command = [sys.executable, __file__, "--serve", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/file.gguf"
    finally:
        process.terminate()
        process.wait()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is no news."""


def serve(path: str) -> None:
    Handler.path_of_file = path
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for start in range(0, size, 10 * MB):
            file.write(os.urandom(min(10 * MB, size - start)))
        os.fsync(file.fileno())


def rounds(args: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    source, out, own = folder / "file.gguf", folder / "curl.out", folder / "own"
    size = args.size * MB
    make(source, size)
    run("sha256sum", str(source))
    watch = Watch(lambda event: None, Policy(streams=args.streams), trusted=True)
    times: dict[str, list[float]] = {}

    def note(name: str, work: Callable[[], object]) -> None:
        times.setdefault(name, []).append(timed(work))
        out.unlink(missing_ok=True)
        shutil.rmtree(own, ignore_errors=True)
        os.sync()

    with serving(source) as url:

        def ours() -> None:
            own.mkdir()
            Client(watch).download(url, Asset("model", "file.gguf", size=size), own)

        for _ in range(args.rounds):
            note("sha256sum", lambda: run("sha256sum", str(source)))
            note("curl", lambda: run("curl", "-s", "-o", str(out), url))
            note("curl, sync", lambda: (run("curl", "-s", "-o", str(out), url), run("sync", str(out))))
            note("ours", ours)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1000, help="MB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--folder", help="where the files lie; a temporary folder by default")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    print(hardware())
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        times = rounds(args, Path(folder))
    print(f"\n{args.size} MB, {args.streams} streams; MB/s, medians (least .. most)")
    for name, values in times.items():
        print(f"  {name:11} {shown([args.size / value for value in values])}")
    print("\nours against the slower of sha256sum and the other (target: 0.90 or more)")
    for other in ("curl", "curl, sync"):
        slower = max(("sha256sum", other), key=lambda name: statistics.median(times[name]))
        ratios = [theirs / own for theirs, own in zip(times[slower], times["ours"], strict=True)]
        print(f"  {other:11} {shown(ratios)} of {slower}")


if __name__ == "__main__":
    main()
