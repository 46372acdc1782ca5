"""Clients that leave, read slowly or half-close: rows 32 to 36 of the fault table."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.running import Server, fake, serving, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = json.dumps({"context_length": 10_000_000, "memory": 1_000_000, "slots": 2})
    home = tmp_path_factory.mktemp("home")
    with serving(home, INHOUSE_ENGINE="fake", INHOUSE_FAKE=options) as running:
        running.chat(fake(tokens=1))
        yield running


def body(text: str, *, stream: bool = True) -> dict[str, object]:
    return {"model": "fake", "stream": stream, "messages": [{"role": "user", "content": text}]}


PREFILL = fake(tokens=5, prefill=30)
DECODE = fake(tokens=100_000, rate=50)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("text", [PREFILL, DECODE], ids=["prefill", "decode"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat"])
def test_a_client_that_leaves_frees_its_slot(server: Server, path: str, text: str, stream: bool) -> None:
    before = server.metric("inhouse_requests_total", outcome="cancelled")
    sock = server.open(path, body(text, stream=stream))
    until(lambda: server.busy() == 1, 5, "the request's start")
    sock.close()
    until(lambda: server.busy() == 0, 2, "a free slot")
    until(lambda: server.metric("inhouse_requests_total", outcome="cancelled") == before + 1, 2)


def test_a_client_that_leaves_the_queue_is_forgotten(server: Server) -> None:
    holders = [server.open("/v1/chat/completions", body(DECODE)) for _ in range(2)]
    until(lambda: server.busy() == 2, 5)
    waiting = server.open("/v1/chat/completions", body(DECODE, stream=False))
    until(lambda: server.loaded()[0]["waiting"] == 1, 5)
    waiting.close()
    until(lambda: server.loaded()[0]["waiting"] == 0, 2, "an empty queue")
    for sock in holders:
        sock.close()
    until(lambda: server.busy() == 0, 2)


def test_a_half_closed_client_is_still_answered(server: Server) -> None:
    sock = server.open("/v1/chat/completions", body(fake(text="still here", prefill=1.0), stream=False))
    sock.shutdown(socket.SHUT_WR)
    response = http.client.HTTPResponse(sock)
    response.begin()
    assert response.status == 200
    assert json.loads(response.read())["choices"][0]["message"]["content"] == "still here"
    sock.close()


def test_a_half_closed_stream_is_still_answered(server: Server) -> None:
    sock = server.open("/v1/chat/completions", body(fake(tokens=10, rate=20)))
    sock.shutdown(socket.SHUT_WR)
    response = http.client.HTTPResponse(sock)
    response.begin()
    assert response.read().rstrip().endswith(b"data: [DONE]")
    sock.close()


def test_an_error_after_the_stream_began_is_told_in_the_stream(server: Server) -> None:
    answer = server.chat(fake(tokens=50, rate=100, die_after=5), stream=True)
    assert answer.status == 200
    assert "[DONE]" not in answer.events
    assert answer.events[-1]["error"]["message"]
    assert not any(
        (e.get("choices") or [{}])[0].get("finish_reason") for e in answer.events if "choices" in e
    )
    lines = server.ask("POST", "/api/chat", body(fake(tokens=50, rate=100, die_after=5))).lines
    assert set(lines[-1]) == {"error"}
    assert not any(line.get("done") for line in lines)


def test_a_slow_reader_does_not_slow_the_others(server: Server) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", server.port))
    data = json.dumps(body(fake(tokens=400_000, rate=0))).encode()
    sock.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n" % len(data) + data
    )
    until(lambda: server.busy() == 1, 5)
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    answer = server.chat(fake(tokens=100, rate=200), stream=True)
    assert answer.events[-1] == "[DONE]"
    assert server.busy() == 1, "the slow reader's stream is paused, not dropped at once"
    assert process.memory_info().rss - before < 32 * 2**20
    sock.close()
    until(lambda: server.busy() == 0, 2)


def test_many_clients_that_abort_leave_nothing_behind(server: Server) -> None:
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    server.chat(fake(tokens=1))
    descriptors = process.num_fds() if hasattr(process, "num_fds") else 0
    memory = process.memory_info().rss
    for i in range(400):
        with contextlib.closing(server.open("/v1/chat/completions", body(DECODE, stream=bool(i % 2)))):
            pass
    until(lambda: server.busy() == 0 and not server.loaded()[0]["waiting"], 20, "free slots")
    if descriptors:
        until(lambda: process.num_fds() <= descriptors + 3, 10, "closed descriptors")
    assert process.memory_info().rss - memory < 40 * 2**20
    assert server.chat(fake(text="fine")).json["choices"][0]["message"]["content"] == "fine"


def test_leaving_during_a_load_is_noticed(tmp_path: Path) -> None:
    options = json.dumps({"load_seconds": 20})
    with serving(tmp_path, INHOUSE_ENGINE="fake", INHOUSE_FAKE=options) as running:
        sock = running.open("/v1/chat/completions", body(fake(tokens=1)))
        until(running.loaded, 5, "the load's start")
        sock.close()
        until(lambda: not running.loaded(), 4, "the load's end")
        began = time.monotonic()
        assert running.ask("GET", "/health").status == 200
        assert time.monotonic() - began < 1
