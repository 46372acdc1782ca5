"""A real server in its own process, for tests that need one."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JSON = {"content-type": "application/json"}


def until(check: Callable[[], Any], seconds: float = 10.0, what: str = "the condition") -> Any:
    """Poll ``check`` until it is true; fails when it is not in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {seconds} s")
        time.sleep(0.02)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        """The objects of an NDJSON answer."""
        return [json.loads(line) for line in self.body.splitlines() if line]

    @property
    def events(self) -> list[Any]:
        """The data of an SSE answer, ``[DONE]`` as text."""
        data = [line[6:] for line in self.body.decode().split("\n") if line.startswith("data: ")]
        return [one if one == "[DONE]" else json.loads(one) for one in data]


class Server:
    """``inhouse serve`` with a home of its own. ``before``: a command that ends by running its arguments."""

    def __init__(self, home: Path, env: dict[str, str], before: Sequence[str] = ()) -> None:
        self.home = home
        self.before = before
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("INHOUSE_")},
            "INHOUSE_HOME": str(home),
            "INHOUSE_HOST": "127.0.0.1:0",
            "INHOUSE_LOG_LEVEL": "info",
            **env,
        }
        home.mkdir(parents=True, exist_ok=True)
        self.log = home / "test-server.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> Server:
        announced = self.home / "server.json"
        announced.unlink(missing_ok=True)
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [*self.before, sys.executable, "-m", "inhouse", "serve"], env=self.env, stdout=out, stderr=out
            )

        def up() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended: {self.log.read_text()[-2000:]}")
            if not announced.exists():
                return False
            self.port = int(json.loads(announced.read_text())["port"])
            with contextlib.suppress(OSError):
                return self.ask("GET", "/health").status == 200
            return False

        until(up, 20, "the server's start")
        return self

    def stop(self, sig: int = signal.SIGTERM, wait: float = 20) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            return self.process.wait(wait)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
            raise

    def connect(self, timeout: float = 30) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        timeout: float = 30,
    ) -> Answer:
        connection = self.connect(timeout)
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            connection.request(method, path, data, {**(JSON if data is not None else {}), **(headers or {})})
            response = connection.getresponse()
            got = {k.lower(): v for k, v in response.getheaders()}
            return Answer(response.status, got, response.read())
        finally:
            connection.close()

    def chat(self, text: str, model: str = "fake", **more: Any) -> Answer:
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        return self.ask("POST", "/v1/chat/completions", body)

    def open(self, path: str, body: Any) -> socket.socket:
        """Send a request and keep the bare socket."""
        sock = socket.create_connection(("127.0.0.1", self.port), 10)
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        sock.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        return sock

    def loaded(self) -> list[dict[str, Any]]:
        return list(self.ask("GET", "/api/ps").json["models"])

    def busy(self) -> int:
        """Slots in use over all loaded models."""
        return sum(int(m["busy"]) for m in self.loaded())

    def worker(self) -> int:
        """Process id of the one loaded model's worker."""
        import psutil

        assert self.process is not None
        children = psutil.Process(self.process.pid).children(recursive=True)
        workers = [c for c in children if any("workers" in word for word in c.cmdline())]
        assert len(workers) == 1, workers
        return int(workers[0].pid)

    def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric's samples whose labels match."""
        total = 0.0
        for line in self.ask("GET", "/metrics").body.decode().splitlines():
            match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if match and all(f'{k}="{v}"' in (match[1] or "") for k, v in labels.items()):
                total += float(match[2])
        return total


@contextlib.contextmanager
def serving(home: Path, **env: str) -> Iterator[Server]:
    """A running server, ended and looked after."""
    server = Server(home, env).start()
    try:
        yield server
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.stop()


def fake(**options: Any) -> str:
    """A prompt that tells the fake engine what to do."""
    return f"/fake {json.dumps(options)}"
