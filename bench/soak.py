"""Does it stay whole and small under hours of mixed load, clients that leave, and workers that are killed?

    python bench/soak.py [--minutes 60] [--real] [--clients 8] [--out FOLDER]

Three dialects, streamed and whole, chats and embeddings, over more models than may be loaded at once, so that
they evict each other; one client in twenty hangs up in mid-answer; every few seconds a worker is killed or
stopped. At the end every request must have been answered, or told why not by an error that this script caused
(a kill just before); the memory and the descriptors of the server must be flat; /health must be quick.
Writes what it found to FOLDER/soak.txt, with pictures beside it, and ends with 1 when something is not so.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import math
import os
import random
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from common import Running, hardware, server

from inhouse import charts

KNOWN = 10.0
"""Seconds after a kill in which an error is its echo: a hung worker is noticed after 3, one that was stopped
while it loaded after 5, then loaded anew."""
FILL = 2600
"""Requests before the clock starts: the server remembers the last 2,000, and that has to fill up."""
WARM = 0.5
"""Share of the time that is not judged: what is remembered (2,000 lines of the journal, too) fills up."""
LONG = 2400.0
"""Seconds from which a run is long enough for that; in a shorter one memory may grow by ROOM."""
ROOM = 6.0
"""MiB by which a server may grow until all that is remembered is full, with a third to spare. Measured: 1.7 for
2,000 lines of the journal, 0.8 for traces with steps in the place of those of ``fill``, 0.9 once for Python's
table of interned strings (parts of paths) after some 500 loads, the rest gaps between all that."""
BLOCKS = 16
"""Means that a slope is drawn through: single readings depend on each other."""
STUDENT = 2.145
"""97.5 % point of Student's distribution with BLOCKS - 2 degrees of freedom."""
SLOPE = 1.0
"""MiB an hour from which memory is said to grow (row 70 of the fault table)."""
ENDS = {"openai": b"[DONE]", "ollama": b'"done":true', "anthropic": b"message_stop"}
WHOLE = {"openai": b'"finish_reason"', "ollama": b'"done":true', "anthropic": b'"stop_reason"'}
PATHS = {"openai": "/v1/chat/completions", "ollama": "/api/chat", "anthropic": "/v1/messages"}


@dataclass
class Log:
    """What happened, from all threads."""

    began: float = field(default_factory=time.monotonic)
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    health: list[tuple[float, float]] = field(default_factory=list)
    readings: list[tuple[float, float, float, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> float:
        return time.monotonic() - self.began

    def end(self, how: str, started: float, said: str) -> None:
        """Count one request; an error that no kill explains is kept with what it said."""
        now = self.now()
        with self.lock:
            if how == "error" and any(started - 1 <= at + KNOWN and at <= now for at in self.kills):
                how = "error after a kill"
            self.ends[how] += 1
            if how == "answered":
                self.took.append(now - started)
            if how in ("error", "lost"):
                last = max((at for at in self.kills if at <= now), default=-math.inf)
                asked = f"asked at {started:.1f} s, last kill at {last:.1f} s"
                self.wrong.append(f"{now:.1f} s {how} ({asked}): {said[:300]}")


@dataclass(frozen=True)
class Plan:
    """What is asked of which models."""

    chats: tuple[str, ...]
    embeds: tuple[str, ...]
    fake: bool
    env: dict[str, str]

    def prompt(self, pick: random.Random, *, long: bool) -> str:
        if not self.fake:
            return f"Count from {pick.randrange(99)} to a hundred." if long else f"Say {pick.randrange(999)}."
        tokens = 9999 if long else pick.randrange(4, 60)
        return "/fake " + json.dumps(
            {"tokens": tokens, "rate": pick.choice([40, 80, 0]), "prefill": pick.random() / 5}
        )


FAKE = Plan(
    ("fake", "fake-b"),
    ("fake-embed",),
    True,
    {
        "INHOUSE_ENGINE": "fake",
        "INHOUSE_SLOTS": "3",
        "INHOUSE_MAX_LOADED_MODELS": "2",
        "INHOUSE_HANG_TIMEOUT": "3s",
        "INHOUSE_LOAD_TIMEOUT": "5s",
    },
)
REAL = Plan(
    ("smollm2", "qwen2.5-coder:0.5b"),
    (),
    False,
    {
        "INHOUSE_SLOTS": "2",
        "INHOUSE_CONTEXT_LENGTH": "1024",
        "INHOUSE_MAX_LOADED_MODELS": "1",
        "INHOUSE_HANG_TIMEOUT": "6s",
        "INHOUSE_LOAD_TIMEOUT": "9s",
    },
)


def body_of(dialect: str, model: str, prompt: str, *, stream: bool, most: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    if dialect == "ollama":
        return {"model": model, "messages": messages, "stream": stream, "options": {"num_predict": most}}
    return {"model": model, "messages": messages, "stream": stream, "max_tokens": most}


class Client(threading.Thread):
    """Asks one thing after the other until told to stop."""

    def __init__(
        self, number: int, port: int, plan: Plan, log: Log, stop: threading.Event, seed: int
    ) -> None:
        super().__init__(name=f"client {number}", daemon=True)
        self.port, self.plan, self.log, self.stop = port, plan, log, stop
        self.pick = random.Random(seed * 1000 + number)

    def run(self) -> None:
        while not self.stop.is_set():
            started = self.log.now()
            try:
                how, said = self._embed() if self._wants_vector() else self._chat()
            except (OSError, http.client.HTTPException) as error:
                how, said = "lost", repr(error)
            self.log.end(how, started, said)
            if self.pick.random() < 0.3:
                self.stop.wait(self.pick.random() / 2)

    def _wants_vector(self) -> bool:
        return bool(self.plan.embeds) and self.pick.random() < 0.1

    def _embed(self) -> tuple[str, str]:
        status, text = self.post("/v1/embeddings", {"model": self.plan.embeds[0], "input": ["a", "b"]})
        return self._judged(status, text, b'"embedding"')

    def _chat(self) -> tuple[str, str]:
        dialect = self.pick.choice(list(PATHS))
        leaves, stream = self.pick.random() < 0.05, self.pick.random() < 0.5
        model = self.pick.choices(self.plan.chats, [4, 1])[0]
        prompt = self.plan.prompt(self.pick, long=leaves)
        body = body_of(dialect, model, prompt, stream=stream or leaves, most=500 if self.plan.fake else 24)
        if leaves:
            return self._leave(PATHS[dialect], body), ""
        status, text = self.post(PATHS[dialect], body)
        return self._judged(status, text, (ENDS if stream else WHOLE)[dialect])

    def _judged(self, status: int, text: bytes, end: bytes) -> tuple[str, str]:
        said = text[-400:].decode("utf-8", "replace")
        if status == 200 and end in text and b'"error":{' not in text:
            return "answered", said
        return ("error" if b"error" in text else "lost"), f"{status} {said}"

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        """Ask and read the whole answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(connection):
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def _leave(self, path: str, body: dict[str, Any]) -> str:
        """Hang up once the answer has begun, or before."""
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
            sock.settimeout(self.pick.random() * 2)
            with contextlib.suppress(TimeoutError):
                sock.recv(256)
        return "left"


def workers(running: Running) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [p for p in psutil.Process(running.process.pid).children(recursive=True) if _works(p)]
    return []


def _works(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return any("workers" in word or "llama-server" in word for word in process.cmdline())
    return False


def kill_now_and_then(running: Running, log: Log, stop: threading.Event, every: float, seed: int) -> None:
    pick = random.Random(seed)
    while not stop.wait(every * (0.5 + pick.random())):
        if found := workers(running):
            with contextlib.suppress(psutil.Error), log.lock:
                log.kills.append(log.now())
                pick.choice(found).send_signal(signal.SIGSTOP if pick.random() < 0.25 else signal.SIGKILL)


def probe_health(running: Running, log: Log, stop: threading.Event) -> None:
    while not stop.wait(0.2):
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", "/health")
            assert connection.getresponse().status == 200
        log.health.append((log.now(), time.monotonic() - began))


def read_now_and_then(running: Running, log: Log, stop: threading.Event) -> None:
    process = psutil.Process(running.process.pid)
    while not stop.wait(1.0):
        with contextlib.suppress(psutil.Error):
            theirs = sum(p.memory_info().rss for p in workers(running))
            mine = process.memory_info().rss / 2**20
            log.readings.append((log.now(), mine, theirs / 2**20, float(process.num_fds())))


def slope(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Change per hour of (seconds, value) and the half width of its 95 % interval, over means of blocks."""
    size = len(points) // BLOCKS
    if size < 2:
        return 0.0, math.inf
    blocks = [points[n * size : (n + 1) * size] for n in range(BLOCKS)]
    xs = [statistics.fmean(x for x, _ in block) / 3600 for block in blocks]
    ys = [statistics.fmean(y for _, y in block) for block in blocks]
    middle, height = statistics.fmean(xs), statistics.fmean(ys)
    spread = sum((x - middle) ** 2 for x in xs)
    rise = sum((x - middle) * (y - height) for x, y in zip(xs, ys, strict=True)) / spread
    rest = sum((y - height - rise * (x - middle)) ** 2 for x, y in zip(xs, ys, strict=True))
    return rise, STUDENT * math.sqrt(rest / (BLOCKS - 2) / spread)


def centile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def verdicts(log: Log, readings: list[tuple[float, float, float, float]]) -> Iterator[tuple[bool, str]]:
    """What is held, each with whether it was so."""
    lost, errors = log.ends["lost"], log.ends["error"]
    yield not lost and log.ends["answered"] > 0, f"answers lost: {lost}"
    yield not errors, f"errors that no kill explains: {errors}"
    memory, width = slope([(at, mine) for at, mine, _, _ in readings])
    text = f"memory of the server: {memory:+.1f} ± {width:.1f} MiB an hour"
    if log.now() >= LONG:
        yield memory - width <= SLOPE, text
    else:
        grown = log.readings[-1][1] - log.readings[0][1] if log.readings else math.inf
        yield (
            grown <= ROOM,
            f"{text}, {grown:+.1f} MiB in all (too short to judge the slope; at most {ROOM:g})",
        )
    files, width = slope([(at, count) for at, _, _, count in readings])
    yield files - width <= 1.0, f"descriptors: {files:+.1f} ± {width:.1f} an hour"
    slow = centile([took for _, took in log.health], 0.99)
    yield (
        slow < 1.0,
        f"/health: p50 {centile([t for _, t in log.health], 0.5) * 1000:.0f} ms, p99 {slow * 1000:.0f} ms",
    )


def metrics(running: Running) -> dict[str, float]:
    """What the server counted, summed over labels."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    found: Counter[str] = Counter()
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = line.split("{")[0].split(" ")[0], float(line.rsplit(" ", 1)[1])
            found[name] += value  # type: ignore[assignment]
    return dict(found)


def report(log: Log, counted: dict[str, float], folder: Path, title: str) -> int:
    """Print and write down what was found; 0 when all is as it should be."""
    until = log.readings[-1][0] if log.readings else 0.0
    judged = [one for one in log.readings if one[0] >= until * WARM]
    held = list(verdicts(log, judged))
    lines = [title, hardware(), ""]
    lines += [f"{'ok ' if good else 'NOT'}  {text}" for good, text in held]
    lines += ["", "requests: " + ", ".join(f"{count} {how}" for how, count in log.ends.most_common())]
    lines += [
        f"answers: p50 {centile(log.took, 0.5):.2f} s, p99 {centile(log.took, 0.99):.2f} s; kills: {len(log.kills)}"
    ]
    shown = ("model_loads", "worker_restarts", "model_evictions", "refusals", "events", "journal_dropped")
    lines += [
        "server: " + ", ".join(f"{name} {counted.get(f'inhouse_{name}_total', 0):.0f}" for name in shown)
    ]
    if judged:
        lines += [
            f"memory: {judged[0][1]:.0f} MiB at first, {judged[-1][1]:.0f} at last, {max(r[1] for r in judged):.0f} at most"
        ]
    lines += ["", *log.wrong[:20]]
    text = "\n".join(lines).rstrip() + "\n"
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soak.txt").write_text(text)
    _draw(log, folder, title)
    return 0 if all(good for good, _ in held) else 1


def _draw(log: Log, folder: Path, title: str) -> None:
    thin = log.readings[:: max(1, len(log.readings) // 400)]
    quick = log.health[:: max(1, len(log.health) // 400)]
    server_, all_ = [(r[0] / 60, r[1]) for r in thin], [(r[0] / 60, r[2]) for r in thin]
    pictures = {
        "memory": ("MiB", {"server": server_, "its workers": all_}),
        "descriptors": ("open files", {"server": [(r[0] / 60, r[3]) for r in thin]}),
        "health": ("ms", {"/health": [(at / 60, took * 1000) for at, took in quick]}),
    }
    for name, (unit, series) in pictures.items():
        (folder / f"soak-{name}.svg").write_text(charts.lines(f"{title}: {name}", "minutes", unit, series))


def prepared(running: Running, plan: Plan) -> None:
    """Pull what is real."""
    for model in () if plan.fake else plan.chats:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=1800)
        with contextlib.closing(connection):
            data = json.dumps({"model": model, "stream": False})
            connection.request("POST", "/api/pull", data, {"content-type": "application/json"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise SystemExit(f"{model} cannot be pulled: {answer.read(500)!r}")
            answer.read()


def fill(running: Running, plan: Plan, log: Log) -> None:
    """Short requests until all that is remembered per request is full."""
    client = Client(-1, running.port, plan, log, threading.Event(), 0)

    def one(number: int) -> None:
        dialect = list(PATHS)[number % 3]
        prompt = '/fake {"tokens": 2}' if plan.fake else "Hi"
        body = body_of(dialect, plan.chats[0], prompt, stream=number % 2 == 0, most=1)
        status, text = client.post(PATHS[dialect], body)
        if status != 200:
            raise SystemExit(f"the server does not answer: {text[:300]!r}")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(FILL)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--real", action="store_true", help="small real models instead of the fake engine")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--kill-every", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--home", type=Path, help="an INHOUSE_HOME to use, e.g. one that has the real models")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "inhouse-soak")
    args = parser.parse_args()
    plan, log, stop = REAL if args.real else FAKE, Log(), threading.Event()
    kind = "real models" if args.real else "fake engine"
    print(f"{args.minutes:g} minutes, seed {args.seed}, process {os.getpid()}", file=sys.stderr)
    with server(args.home, INHOUSE_MAX_QUEUE="1000", **{**plan.env, "INHOUSE_LOG_LEVEL": "error"}) as running:
        prepared(running, plan)
        fill(running, plan, log)
        log.began = time.monotonic()
        clients = [Client(n, running.port, plan, log, stop, args.seed) for n in range(args.clients)]
        helpers = [
            threading.Thread(target=kill_now_and_then, args=(running, log, stop, args.kill_every, args.seed)),
            threading.Thread(target=probe_health, args=(running, log, stop)),
            threading.Thread(target=read_now_and_then, args=(running, log, stop)),
        ]
        for thread in (*clients, *helpers):
            thread.start()
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(args.minutes * 60)
        stop.set()
        for thread in (*clients, *helpers):
            thread.join(130)
        if any(thread.is_alive() for thread in clients):
            log.end("lost", log.now(), "a client still waits")
        counted = metrics(running)
    return report(log, counted, args.out, f"{args.minutes:g} minutes, {args.clients} clients, {kind}")


if __name__ == "__main__":
    raise SystemExit(main())
