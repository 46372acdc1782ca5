"""Is Inhouse as fast as a native llama-server with its defaults on the same machine? Both are asked over
HTTP, with the same requests in turns; ratios are taken round by round.

usage: python bench/engine.py [--home DIR] [--models qwen2.5-coder:0.5b,qwen2.5-coder:1.5b]
       [--llama-server PATH] [--engine auto] [--rounds 7] [--only decode,prefill,clients,copy,restart]

Ours is the product as it would run here: the build that it chooses (a llama-server found here counts as
native), and what ``inhouse tune`` has kept in the home. The models must be in the home.

Targets: single stream decode and prefill at least 1.0, eight clients together at least 1.1, a copy-heavy
answer's decode at least 1.8; the first token of a prompt of 2,000 tokens known before a restart in at
most 0.2 of the time that it took cold.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from common import Running, get, hardware, server

from inhouse.core.engine import Launch
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.measure import Plan, Round, Spread, Subject, rounds
from inhouse.measure.versus import decode, gains, prefill, total
from inhouse.upstream.openai import OpenAIEngine

OURS, NATIVE = "Inhouse", "llama-server"
KNOWN = 2000

QUESTIONS: dict[str, tuple[Plan, Callable[[Round], float], float]] = {
    "decode": (Plan(prompt=128, answer=128, chat=True), decode, 1.0),
    "prefill": (Plan(prompt=768, answer=8, chat=True), prefill, 1.0),
    "clients": (Plan(prompt=96, answer=96, clients=(8,), chat=True), total, 1.1),
    "copy": (Plan(prompt=600, answer=320, task="copy", chat=True), decode, 1.8),
}
LABELS = {
    "decode": "decode, one stream",
    "prefill": "prefill, one stream",
    "clients": "eight clients together",
    "copy": "decode, a file rewritten",
}


def engine(port: int, model: str) -> OpenAIEngine:
    """A client of either server."""
    takes = frozenset({"chat", "completions", "stream_options"})
    launch = Launch("", (), f"127.0.0.1:{port}", wire="openai", served_as=model, takes=takes)
    card = Card(ModelName.parse(model), "0" * 64, "", "0" * 64, 0, Footprint(0, 0))
    return OpenAIEngine(card, launch)


@contextlib.asynccontextmanager
async def subjects(ports: dict[str, int], model: str) -> AsyncIterator[dict[str, Subject]]:
    """What is asked, by name."""
    engines = {name: engine(port, model) for name, port in ports.items()}
    try:
        yield {name: Subject(one.run, model) for name, one in engines.items()}
    finally:
        for one in engines.values():
            await one.close()


@contextlib.contextmanager
def llama_server(binary: str, weights: str) -> Iterator[int]:
    """A native llama-server with its defaults; its port."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    process = subprocess.Popen(
        [binary, "-m", weights, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while b"200 OK" not in _health(port):
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit("llama-server did not start")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _health(port: int) -> bytes:
    with contextlib.suppress(OSError):
        return get(("127.0.0.1", port), "/health")
    return b""


def weights_of(home: Path, model: str) -> str:
    """Where the weights of a stored model lie."""
    from inhouse.store import Store

    wanted = ModelName.parse(model).key
    for card in Store(home).cards():
        if card.name.key == wanted:
            return card.weights
    raise SystemExit(f"{model} is not in {home}: INHOUSE_HOME={home} inhouse pull {model}")


def shown(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f} .. {spread.high:.2f})"


def line(what: str, ratio: Spread, target: float, more: str = "", *, most: bool = False) -> None:
    good = ratio.median <= target if most else ratio.median >= target
    sign = "<=" if most else ">="
    print(f"  {what:28} x{shown(ratio):24} target {sign} {target:g}  {'ok' if good else 'MISSED'}  {more}")


async def compare(ports: dict[str, int], model: str, name: str, count: int) -> None:
    """One question, asked of both in turns."""
    plan, rate, target = QUESTIONS[name]
    plan = Plan(
        plan.prompt, plan.answer, plan.clients, count, plan.task, plan.chat, seed=int(time.time()) + len(name)
    )
    async with subjects(ports, model) as both:
        done = [one async for one in rounds(both, plan)]
    each = {who: Spread.of(rate(one) for one in done if one.subject == who) for who in both}
    figures = ", ".join(f"{who} {shown(spread)} tokens/s" for who, spread in each.items())
    line(LABELS[name], Spread.of(gains(done, OURS, NATIVE, rate)), target, figures)


async def first_token(port: int, model: str, plan: Plan) -> float:
    """Seconds until the first token of the plan's first counted request."""
    async with subjects({OURS: port}, model) as one:
        found = [r async for r in rounds(one, plan)]
    return found[0].samples[0].ttft


def restart(home: Path, env: dict[str, str], model: str, count: int) -> None:
    """The same long prompt cold, known, and after the server was started anew."""
    ratios, cold, known = [], [], []
    load = Plan(prompt=8, answer=1, rounds=1, warm=False)
    for turn in range(count):
        plan = Plan(prompt=KNOWN, answer=4, rounds=1, warm=False, seed=int(time.time()) + turn)
        with server(home, **env) as running:
            asyncio.run(first_token(running.port, model, load))
            cold.append(asyncio.run(first_token(running.port, model, plan)))
            for _ in range(2):
                asyncio.run(first_token(running.port, model, plan))
            time.sleep(2)  # a prompt that is asked for again is saved beside the answers
        with server(home, **env) as running:
            asyncio.run(first_token(running.port, model, load))
            known.append(asyncio.run(first_token(running.port, model, plan)))
        ratios.append(known[-1] / cold[-1])
    more = f"cold {shown(Spread.of(cold))} s, known {shown(Spread.of(known))} s"
    line("first token after a restart", Spread.of(ratios), 0.2, more, most=True)


def runs_with(running: Running, model: str) -> str:
    """The engine that answers."""
    found = json.loads(get(running.address(), "/api/ps").partition(b"\r\n\r\n")[2])["models"]
    one = next((m for m in found if m["name"] == model), {})
    return ", ".join(str(one[key]) for key in ("engine", "build", "variant", "speculative") if one.get(key))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--home", type=Path, default=Path(os.environ.get("INHOUSE_HOME", "~/.inhouse")).expanduser()
    )
    parser.add_argument("--models", default="qwen2.5-coder:0.5b,qwen2.5-coder:1.5b")
    parser.add_argument("--llama-server", default=shutil.which("llama-server") or "")
    parser.add_argument("--engine", default="auto", help="Ours, as INHOUSE_ENGINE.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="decode,prefill,clients,copy,restart")
    args = parser.parse_args()
    if not args.llama_server:
        raise SystemExit("there is no llama-server: name one with --llama-server")
    wanted = args.only.split(",")
    env = {"INHOUSE_ENGINE": args.engine, "INHOUSE_KEEP_ALIVE": "-1"}
    if args.engine in ("auto", "native"):
        env["INHOUSE_LLAMA_SERVER"] = args.llama_server
    print(f"{hardware()}, load {os.getloadavg()[0]:.1f}")
    for model in args.models.split(","):
        weights = weights_of(args.home, model)
        with llama_server(args.llama_server, weights) as there, server(args.home, **env) as running:
            ports = {OURS: running.port, NATIVE: there}
            asyncio.run(first_token(running.port, model, Plan(prompt=8, answer=1, rounds=1, warm=False)))
            print(f"{model}: {runs_with(running, model)}")
            for name in QUESTIONS:
                if name in wanted:
                    asyncio.run(compare(ports, model, name, args.rounds))
        if "restart" in wanted:
            restart(args.home, env, model, max(1, args.rounds // 3))


if __name__ == "__main__":
    main()
