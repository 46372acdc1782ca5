"""Which libraries carry the hot path: the numbers behind docs/concepts/libraries.md.

usage: python bench/libraries.py [json|cli|server|client]...

Candidates that are not installed are left out and named. Every candidate runs in its own process,
rounds are interleaved, medians with the spread are printed, and the last column is the ratio to the
first candidate.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

CHUNK = (
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" token"}}],"created":1795368130,'
    b'"id":"chatcmpl-U5lr3XdrujRQViOdKbmhj0OPGFPvzBt8","model":"m","object":"chat.completion.chunk"}\n\n'
)
TOKENS, STREAMS, ROUNDS = 4000, 8, 5


def have(name: str) -> bool:
    if importlib.util.find_spec(name) is None:
        print(f"(left out, not installed: {name})")
        return False
    return True


def table(title: str, unit: str, results: dict[str, list[float]]) -> None:
    print(f"\n{title} [{unit}; lower is better]")
    first = statistics.median(next(iter(results.values())))
    for name, values in results.items():
        middle = statistics.median(values)
        print(f"  {name:34s} {middle:9.2f}  ({min(values):.2f} .. {max(values):.2f})  x{middle / first:.2f}")


def interleaved(candidates: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    results: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(ROUNDS):
        for name, run in candidates.items():
            results[name].append(run())
    return results


def bench_json() -> None:
    body = CHUNK[6:-2]
    candidates: dict[str, Callable[[], Any]] = {}
    if have("msgspec"):
        import msgspec

        delta = msgspec.defstruct("Delta", [("content", str | None, None)])
        choice = msgspec.defstruct("Choice", [("delta", delta), ("index", int, 0)])
        chunk = msgspec.defstruct("Chunk", [("choices", list[choice])])  # type: ignore[valid-type]
        decoder = msgspec.json.Decoder(chunk)
        candidates["msgspec typed"] = lambda: decoder.decode(body)
        candidates["msgspec untyped"] = lambda: msgspec.json.decode(body)
    if have("orjson"):
        import orjson

        candidates["orjson"] = lambda: orjson.loads(body)
    candidates["json"] = lambda: json.loads(body)

    def timed(run: Callable[[], Any]) -> Callable[[], float]:
        def once() -> float:
            began = time.process_time()
            for _ in range(50_000):
                run()
            return (time.process_time() - began) / 50_000 * 1e6

        return once

    table("decode one streamed chunk", "us", interleaved({n: timed(r) for n, r in candidates.items()}))


def bench_cli() -> None:
    names = [
        n for n in ("click", "typer", "cyclopts", "rich", "prompt_toolkit", "httpx", "aiohttp") if have(n)
    ]

    def start(code: str) -> Callable[[], float]:
        def once() -> float:
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            return (time.perf_counter() - began) * 1000

        return once

    candidates = {"(nothing)": start("pass"), "argparse": start("import argparse")}
    candidates |= {n: start(f"import {n}") for n in names} | {"http.client": start("import http.client")}
    table("start Python and import", "ms", interleaved(candidates))


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
    )
    for i in range(TOKENS):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
        if i % 8 == 0:
            await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b""})


def starlette_app() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    async def body() -> Any:
        for i in range(TOKENS):
            yield CHUNK
            if i % 8 == 0:
                await asyncio.sleep(0)

    async def endpoint(request: Any) -> Any:
        return StreamingResponse(body(), media_type="text/event-stream")

    return Starlette(routes=[Route("/", endpoint)])


def serve(kind: str, port: int) -> None:
    if kind == "granian":
        from granian import Granian

        Granian("libraries:asgi", port=port, interface="asgi", log_enabled=False).serve()
        return
    if kind == "aiohttp.web":
        import uvloop
        from aiohttp import web

        async def handler(request: Any) -> Any:
            answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await answer.prepare(request)
            for i in range(TOKENS):
                await answer.write(CHUNK)
                if i % 8 == 0:
                    await asyncio.sleep(0)
            return answer

        app = web.Application()
        app.router.add_get("/", handler)
        asyncio.set_event_loop(uvloop.new_event_loop())
        web.run_app(app, port=port, print=None, loop=asyncio.get_event_loop(), access_log=None)
        return
    import uvicorn

    loop, http = ("asyncio", "h11") if "h11" in kind else ("uvloop", "httptools")
    app: Any = starlette_app() if "starlette" in kind else asgi
    uvicorn.run(app, port=port, loop=loop, http=http, log_level="critical", access_log=False, lifespan="off")


def drain(port: int) -> None:
    """Read whole answers over plain sockets, several at once."""
    socks = []
    for _ in range(STREAMS):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        socks.append(sock)
    import selectors

    selector = selectors.DefaultSelector()
    for sock in socks:
        selector.register(sock, selectors.EVENT_READ)
    while selector.get_map():
        for key, _ in selector.select():
            if not key.fileobj.recv(1 << 16):  # type: ignore[union-attr]
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def cpu(process: psutil.Process) -> float:
    everyone = [process, *process.children(recursive=True)]
    return sum(sum(p.cpu_times()[:2]) for p in everyone)


def bench_server() -> None:
    kinds = [k for k, need in (
        ("uvicorn uvloop httptools", "uvicorn"), ("uvicorn asyncio h11", "h11"),
        ("starlette on uvicorn", "starlette"),
        ("aiohttp.web", "aiohttp"), ("granian", "granian"),
    ) if have(need)]  # fmt: skip
    running: dict[str, tuple[multiprocessing.Process, int]] = {}
    for kind in kinds:
        port = free_port()
        process = multiprocessing.get_context("spawn").Process(target=serve, args=(kind, port))
        process.start()
        running[kind] = (process, port)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)

    def one(kind: str) -> Callable[[], float]:
        process, port = running[kind]

        def once() -> float:
            seen = psutil.Process(process.pid)
            before = cpu(seen)
            drain(port)
            return (cpu(seen) - before) / (TOKENS * STREAMS) * 1e6

        return once

    try:
        results = interleaved({k: one(k) for k in kinds})
    finally:
        for process, _ in running.values():
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
    table("server CPU per streamed token, each its own write", "us", results)


def worker(path: str) -> None:
    """A Unix-socket server that streams chunks, each its own write."""
    import uvicorn

    uvicorn.run(asgi, uds=path, loop="uvloop", http="httptools", log_level="critical", access_log=False,
                lifespan="off")  # fmt: skip


async def by_aiohttp(path: str) -> None:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session:

        async def one() -> None:
            async with session.get("http://x/") as answer:
                async for _ in answer.content.iter_any():
                    pass

        await asyncio.gather(*(one() for _ in range(STREAMS)))


async def by_httpx(path: str) -> None:
    import httpx

    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=path), timeout=None) as client:

        async def one() -> None:
            async with client.stream("GET", "http://x/") as answer:
                async for _ in answer.aiter_raw():
                    pass

        await asyncio.gather(*(one() for _ in range(STREAMS)))


def bench_client() -> None:
    path = str(Path(tempfile.mkdtemp()) / "s")
    process = multiprocessing.get_context("spawn").Process(target=worker, args=(path,))
    process.start()
    while not os.path.exists(path):
        time.sleep(0.05)
    candidates = {n: f for n, f in (("aiohttp", by_aiohttp), ("httpx", by_httpx)) if have(n)}
    import uvloop

    def one(run: Callable[[str], Any]) -> Callable[[], float]:
        def once() -> float:
            before = time.process_time()
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(run(path))
            return (time.process_time() - before) / (TOKENS * STREAMS) * 1e6

        return once

    try:
        results = interleaved({n: one(f) for n, f in candidates.items()})
    finally:
        process.kill()
    table("client CPU per streamed token over a Unix socket", "us", results)


def main() -> None:
    wanted = sys.argv[1:] or ["json", "cli", "server", "client"]
    for name in wanted:
        globals()[f"bench_{name}"]()


if __name__ == "__main__":
    main()
