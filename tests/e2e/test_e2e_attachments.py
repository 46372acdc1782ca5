"""What a request names by its address, through a whole server: brought where the operator allows it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from support.fileserver import Fault, FileServer
from support.running import Server, serving, until

WORDS = b"One document of many words, which the prompt must hold. " * 20


@pytest.fixture(scope="module")
def files() -> Iterator[FileServer]:
    with FileServer({"/words.txt": WORDS}) as files:
        yield files


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, files: FileServer) -> Iterator[Server]:
    env = {"INHOUSE_FETCH_HOSTS": f"{files.authority},*", "INHOUSE_FETCH_TIMEOUT": "60s"}
    with serving(tmp_path_factory.mktemp("home"), INHOUSE_ENGINE="fake", **env) as running:
        yield running


def document(url: str) -> dict[str, Any]:
    part = {"type": "document", "source": {"type": "url", "url": url}}
    content = [{"type": "text", "text": "Sum it up."}, part]
    return {"model": "fake", "max_tokens": 4, "messages": [{"role": "user", "content": content}]}


def asked(files: FileServer, path: str) -> int:
    """How often the file server was asked for a path."""
    return sum(hit.path == path for hit in files.hits)


PARAM = "messages.0.content.1.source.url"


def test_a_text_is_part_of_the_prompt_and_counted_as_such(server: Server, files: FileServer) -> None:
    ask = document(files.url("/words.txt"))
    answer = server.ask("POST", "/v1/messages", ask)
    assert answer.status == 200
    assert answer.json["usage"]["input_tokens"] > 200
    counted = server.ask("POST", "/v1/messages/count_tokens", {"model": "fake", "messages": ask["messages"]})
    assert counted.json["input_tokens"] > 200
    assert asked(files, "/words.txt") == 2


def test_what_is_not_there_is_a_400_that_names_the_field_and_no_address(
    server: Server, files: FileServer
) -> None:
    answer = server.ask("POST", "/v1/messages", document(files.url("/none")))
    assert answer.status == 400
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert PARAM in answer.json["error"]["message"]
    assert "127.0.0.1" not in answer.body.decode()


def test_addresses_inside_are_refused_and_never_connected_to(server: Server) -> None:
    """Faults, row 30."""
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        port = canary.getsockname()[1]
        for url in (f"http://127.0.0.1:{port}/", f"https://localhost:{port}/", f"https://[::1]:{port}/"):
            answer = server.ask("POST", "/v1/messages", document(url))
            assert answer.status == 400
            assert PARAM in answer.json["error"]["message"]
        with pytest.raises(BlockingIOError):
            canary.accept()


def test_a_model_that_cannot_see_has_no_image_fetched_for_it(server: Server, files: FileServer) -> None:
    part = {"type": "image_url", "image_url": {"url": files.url("/a.png")}}
    ask = {"model": "fake", "messages": [{"role": "user", "content": [part]}]}
    answer = server.ask("POST", "/v1/chat/completions", ask)
    assert answer.status == 400
    assert asked(files, "/a.png") == 0


def test_a_client_that_leaves_ends_the_fetch(server: Server, files: FileServer) -> None:
    before = server.metric("inhouse_requests_total", outcome="cancelled")
    files.faults.append(Fault(path="/slow", silent=True))
    with contextlib.closing(server.open("/v1/messages", document(files.url("/slow")))):
        until(lambda: asked(files, "/slow"), 10, "the fetch")
    until(
        lambda: server.metric("inhouse_requests_total", outcome="cancelled") == before + 1,
        5,
        "the end of the request",
    )
