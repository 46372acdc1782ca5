"""A request's own time: refused when it makes no sense, dropped in line, ended while it runs (row 39)."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest

from support.running import Answer, Server, fake, serving, until

ENV = {"INHOUSE_ENGINE": "fake", "INHOUSE_SLOTS": "1"}
PATHS = {
    "/v1/chat/completions": {},
    "/v1/messages": {"max_tokens": 5000},
    "/api/chat": {"stream": False},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with serving(tmp_path_factory.mktemp("deadline"), **ENV) as running:
        running.chat(fake(tokens=1))
        yield running


def ask(server: Server, path: str, limit: str, text: str, **more: Any) -> Answer:
    body = {"model": "fake", "messages": [{"role": "user", "content": text}], **PATHS[path], **more}
    return server.ask("POST", path, body, {"x-request-timeout": limit})


@pytest.mark.parametrize("limit", ["0", "-1", "soon", "", "nan", "0s", "1e3"])
@pytest.mark.parametrize("path", PATHS)
def test_a_time_that_makes_no_sense_is_refused_by_name(server: Server, path: str, limit: str) -> None:
    answer = ask(server, path, limit, "hi")
    assert answer.status == 400
    error = answer.json["error"]
    text = error if isinstance(error, str) else error["message"]
    assert "x-request-timeout" in text
    assert (path == "/api/chat") == isinstance(error, str)


@pytest.mark.parametrize("limit", ["30", "30s", "5000ms", "2m"])
def test_who_has_time_enough_is_answered(server: Server, limit: str) -> None:
    assert ask(server, "/v1/chat/completions", limit, fake(text="in time")).json["choices"]


@pytest.mark.parametrize(("path", "status"), list(zip(PATHS, (503, 504, 503), strict=True)))
def test_who_is_late_in_line_is_dropped_before_it_runs(server: Server, path: str, status: int) -> None:
    holder = server.open("/v1/chat/completions", {"model": "fake", "stream": True, "messages": [
        {"role": "user", "content": fake(tokens=100_000, rate=20)}]})  # fmt: skip
    try:
        until(lambda: server.busy() == 1, 10)
        began = time.monotonic()
        answer = ask(server, path, "300ms", fake(tokens=1))
        assert answer.status == status
        assert 0.25 < time.monotonic() - began < 2
        assert int(answer.headers["retry-after"]) >= 1
        assert "not begun" in answer.body.decode()
        assert server.loaded()[0]["waiting"] == 0
    finally:
        holder.close()
    until(lambda: server.busy() == 0, 10)


@pytest.mark.parametrize(("path", "status"), list(zip(PATHS, (503, 504, 503), strict=True)))
def test_an_answer_that_takes_too_long_ends_with_an_error_and_frees_its_slot(
    server: Server, path: str, status: int
) -> None:
    began = time.monotonic()
    answer = ask(server, path, "0.5s", fake(tokens=5000, rate=20))
    assert answer.status == status
    assert 0.4 < time.monotonic() - began < 2.5
    assert "before the answer was complete" in answer.body.decode()
    until(lambda: server.busy() == 0, 2, "the slot's return")


def test_a_stream_that_takes_too_long_tells_it_in_the_stream(server: Server) -> None:
    answer = ask(server, "/v1/chat/completions", "0.5s", fake(tokens=5000, rate=20), stream=True)
    assert answer.status == 200
    *pieces, last = answer.events
    assert len(pieces) > 3
    assert last["error"]["code"] == "deadline_exceeded"
    until(lambda: server.busy() == 0, 2, "the slot's return")


def test_pages_may_send_the_header(server: Server) -> None:
    answer = server.ask("OPTIONS", "/v1/chat/completions", headers={"origin": "http://localhost:3000"})
    assert "x-request-timeout" in answer.headers["access-control-allow-headers"]


def test_what_was_dropped_and_why_is_in_the_journal(server: Server) -> None:
    body = {"model": "fake", "messages": [{"role": "user", "content": fake(tokens=5000, rate=20)}]}
    with contextlib.closing(server.open("/v1/chat/completions", body | {"stream": True})):
        until(lambda: server.busy() == 1, 5, "the slot to be taken")
        assert ask(server, "/v1/chat/completions", "300ms", fake(tokens=1)).status == 503
    lines = server.ask("GET", "/api/events").body.decode()
    assert "deadline" in lines
    assert json.loads(lines.splitlines()[0])
