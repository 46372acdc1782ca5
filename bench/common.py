"""Shared by the benchmarks: a server of our own, a light streaming client, medians with spread."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil


def hardware() -> str:
    """One line that says what this ran on."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    memory = psutil.virtual_memory().total / 2**30
    return f"{model}, {os.cpu_count()} CPUs, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"


def shown(values: list[float]) -> str:
    """``median (least .. most)``."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} .. {max(values):.2f})"


@dataclass
class Running:
    """A server under test."""

    process: subprocess.Popen[bytes]
    home: Path
    port: int
    env: dict[str, str]

    @property
    def worker(self) -> psutil.Process:
        """The newest worker process below the server."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return max(children, key=lambda p: p.create_time())

    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    def sockets(self) -> list[str]:
        """Unix sockets of its workers, newest last."""
        found = []
        for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
            path = line.rpartition(" ")[2]
            if path.startswith("/") and path.endswith(".sock") and "inhouse" in path and os.path.exists(path):
                found.append(path)
        return sorted(set(found), key=lambda p: os.stat(p).st_mtime)


@contextlib.contextmanager
def server(home: Path | None = None, **env: str) -> Iterator[Running]:
    """``inhouse serve`` on a free port; ends it afterwards."""
    home = home or Path(tempfile.mkdtemp(prefix="inhouse-bench-"))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    full = {
        **{k: v for k, v in os.environ.items() if not k.startswith("INHOUSE_")},
        "INHOUSE_HOME": str(home),
        "INHOUSE_HOST": f"127.0.0.1:{port}",
        "INHOUSE_LOG_LEVEL": "warning",
        **env,
    }
    process = subprocess.Popen([sys.executable, "-m", "inhouse", "serve"], env=full)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.02)
        yield Running(process, home, port, full)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@dataclass
class Answer:
    """What one stream gave: seconds to the first token, seconds in all, tokens (chunks with text)."""

    ttft: float = 0.0
    seconds: float = 0.0
    tokens: int = 0
    writes: int = 0
    began: float = 0.0
    tail: bytes = b""
    stamps: list[float] = field(default_factory=list)


def request_bytes(path: str, body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n"
    )
    return f"{head}content-length: {len(data)}\r\n\r\n".encode() + data


def connect(address: tuple[str, int] | str) -> socket.socket:
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(address)
        return sock
    sock = socket.create_connection(address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def streams(
    address: tuple[str, int] | str, bodies: list[dict[str, Any]], path: str, mark: bytes
) -> list[Answer]:
    """Run several streams at once and count the chunks that hold ``mark``. One thread, no parsing:
    the client must not cost what is measured."""
    selector = selectors.DefaultSelector()
    answers = []
    for body in bodies:
        sock = connect(address)
        answer = Answer(began=time.perf_counter())
        sock.sendall(request_bytes(path, body))
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, answer)
        answers.append(answer)
    while selector.get_map():
        for key, _ in selector.select(60):
            answer: Answer = key.data
            data = key.fileobj.recv(1 << 18)  # type: ignore[union-attr]
            now = time.perf_counter()
            if not data:
                answer.seconds = now - answer.began
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
                continue
            count = (answer.tail + data).count(mark)
            if count and not answer.tokens:
                answer.ttft = now - answer.began
            answer.tokens += count
            answer.writes += 1
            answer.tail = data[-(len(mark) - 1) :]
    return answers


def get(address: tuple[str, int], path: str) -> bytes:
    sock = connect(address)
    sock.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
    parts = []
    while data := sock.recv(65536):
        parts.append(data)
    sock.close()
    return b"".join(parts)
