"""The worker for safetensors models, as far as it needs no PyTorch: its HTTP, its turns, its texts."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inhouse.engines.workers.transformers_asked import Options, chat_options, text_options
from inhouse.engines.workers.transformers_http import Refused, Site
from inhouse.engines.workers.transformers_pooling import Pooling
from inhouse.engines.workers.transformers_text import Writing
from inhouse.engines.workers.transformers_turns import Turns

# texts


def decode(ids: Sequence[int]) -> str:
    """Ids are bytes."""
    return bytes(ids).decode("utf-8", "replace")


def written(data: bytes, *stops: str) -> tuple[list[str], str | None]:
    writing = Writing(decode, stops)
    out = []
    for byte in data:
        out.append(writing.add(byte)[0])
        if writing.stopped is not None:
            break
    out.append(writing.end()[0])
    return [text for text in out if text], writing.stopped


def test_characters_are_shown_whole() -> None:
    texts, _ = written("aé漢😀b".encode())
    assert texts == ["a", "é", "漢", "😀", "b"]


def test_what_never_becomes_a_character_is_shown_in_the_end() -> None:
    texts, _ = written(b"a\xf0\x9f")
    assert "".join(texts) == "a\ufffd"
    assert "".join(written(b"\xff" * 20)[0]).count("\ufffd") == 20


@pytest.mark.parametrize(
    ("text", "stops", "said", "hit"),
    [
        ("one END two", ("END",), "one ", "END"),
        ("one EN two", ("END",), "one EN two", None),
        ("abcabd", ("abd",), "abc", "abd"),
        ("xyz", ("z", "yz"), "x", "yz"),
        ("END", ("END",), "", "END"),
        ("one EN", ("END",), "one EN", None),
    ],
)
def test_a_stop_string_is_never_shown(text: str, stops: tuple[str, ...], said: str, hit: str | None) -> None:
    texts, stopped = written(text.encode(), *stops)
    assert "".join(texts) == said
    assert stopped == hit


def test_notes_come_with_the_text_of_their_tokens() -> None:
    writing = Writing(decode, ("END",))
    assert writing.add(ord("a"), "A") == ("a", ["A"])
    assert writing.add(ord("E"), "E") == ("", [])
    assert writing.add(ord("x"), "X") == ("Ex", ["E", "X"])
    assert writing.add(ord("E"), "E2") == ("", [])
    assert writing.end() == ("E", ["E2"])


# requests

CHAT: dict[str, Any] = {"model": "m", "stream": True, "messages": []}


def test_options_are_read() -> None:
    body = CHAT | {"temperature": 0, "top_k": -1, "stop": "x", "max_completion_tokens": 5, "seed": 3}
    body |= {
        "logprobs": True,
        "top_logprobs": 2,
        "logit_bias": {"7": -1},
        "response_format": {"type": "text"},
    }
    options = chat_options(body)
    assert options == Options(
        temperature=0, top_k=0, stop=("x",), most=5, seed=3, top=2, logit_bias=((7, -1.0),)
    )
    assert not options.repeatable
    assert Options(seed=1).repeatable
    assert text_options({"model": "m", "stream": True, "prompt": "a", "max_tokens": None}).most is None


@pytest.mark.parametrize(
    ("fields", "grammar"),
    [
        ({"response_format": {"type": "json_object"}}, ("json_schema", '{"type": "object"}')),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}, ("json_schema", "{}")),
        ({"structured_outputs": {"regex": "a+"}}, ("regex", "a+")),
        ({"structured_outputs": {"grammar": 'start: "a"'}}, ("grammar", 'start: "a"')),
    ],
)
def test_grammars_are_read(fields: dict[str, Any], grammar: tuple[str, str]) -> None:
    assert chat_options(CHAT | fields).grammar == grammar


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [1]}, "tools"),
        ({"n": 2}, "n"),
        ({"stream": False}, "stream"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": [1]}, "stop"),
        ({"logit_bias": [1]}, "logit_bias"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"response_format": []}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Refused) as caught:
        chat_options(CHAT | fields)
    assert caught.value.status == 400
    assert caught.value.body["error"]["param"] == param


# turns


class Count:
    """A job of some turns; ``log`` gets the order in which jobs compute."""

    def __init__(self, name: str, turns: int, log: list[str], *, fail: bool = False) -> None:
        self.name, self.left, self.log, self.fail, self.ended = name, turns, log, fail, 0

    def turn(self) -> tuple[list[Any], bool]:
        self.log.append(self.name)
        self.left -= 1
        if self.fail and not self.left:
            raise RuntimeError("broken")
        return [self.left], self.left == 0

    def end(self) -> None:
        self.ended += 1


async def told(turns: Turns, job: Count) -> list[int]:
    async with aclosing(turns.run(job)) as news:
        return [one async for one in news]


async def drained(turns: Turns, count: int) -> None:
    """Compute so many turns, in a thread."""
    for _ in range(count):
        await asyncio.to_thread(turns.once)


async def test_jobs_take_turns() -> None:
    turns, log = Turns(2), list[str]()
    jobs = [Count(name, 3, log) for name in "ab"]
    waiting = [asyncio.ensure_future(told(turns, job)) for job in jobs]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await drained(turns, 6)
    assert await asyncio.gather(*waiting) == [[2, 1, 0]] * 2
    assert log == ["a", "b"] * 3
    assert [job.ended for job in jobs] == [1, 1]


async def test_more_jobs_than_slots_wait_in_the_order_they_came() -> None:
    turns, log = Turns(1), list[str]()
    waiting = [asyncio.ensure_future(told(turns, Count(name, 2, log))) for name in "abc"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await drained(turns, 6)
    await asyncio.gather(*waiting)
    assert log == list("aabbcc")


async def test_who_leaves_is_gone_with_the_turn() -> None:
    turns, log = Turns(1), list[str]()
    job = Count("a", 100, log)
    stream = turns.run(job)
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await drained(turns, 1)
    assert await first == 99
    await stream.aclose()
    await drained(turns, 1)
    assert (log, job.ended) == (["a"], 1)


async def test_a_job_that_fails_tells_who_waits_and_harms_no_other() -> None:
    turns, log = Turns(2), list[str]()
    turns.start()
    assert threading.active_count() >= 2
    bad, good = Count("bad", 2, log, fail=True), Count("good", 3, log)
    answers = await asyncio.gather(told(turns, bad), told(turns, good), return_exceptions=True)
    assert isinstance(answers[0], RuntimeError)
    assert answers[1] == [2, 1, 0]
    assert (bad.ended, good.ended) == (1, 1)


# HTTP


class Desk:
    """Handlers to talk to."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    def table(self) -> dict[tuple[str, str], Any]:
        return {
            ("GET", "/health"): self.health,
            ("POST", "/echo"): self.echo,
            ("POST", "/stream"): self.stream,
            ("POST", "/forever"): self.forever,
            ("POST", "/broken"): self.broken,
            ("POST", "/late"): self.late,
        }

    async def health(self, body: dict[str, Any]) -> Any:
        return {"status": "ok"}

    async def echo(self, body: dict[str, Any]) -> Any:
        return body

    async def stream(self, body: dict[str, Any]) -> Any:
        async def chunks() -> AsyncGenerator[dict[str, Any], None]:
            yield {"n": 1}
            yield {"n": 2}

        return chunks()

    async def forever(self, body: dict[str, Any]) -> Any:
        async def chunks() -> AsyncGenerator[dict[str, Any], None]:
            try:
                yield {"n": 1}
                await asyncio.Event().wait()
            finally:
                self.left.set()

        return chunks()

    async def broken(self, body: dict[str, Any]) -> Any:
        raise RuntimeError("secret words")

    async def late(self, body: dict[str, Any]) -> Any:
        async def chunks() -> AsyncGenerator[dict[str, Any], None]:
            yield {"n": 1}
            raise Refused(400, "no more", "prompt")

        return chunks()


@pytest.fixture
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Desk, aiohttp.ClientSession]]:
    made = Desk()
    server = await Site(made.table(), "hush").listen("127.0.0.1:0")
    port = server.sockets[0].getsockname()[1]
    headers = {"authorization": "Bearer hush"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:
        yield made, session
    server.close()


Talk = tuple[Desk, aiohttp.ClientSession]


async def test_objects_and_streams_are_answered(desk: Talk) -> None:
    _, session = desk
    async with session.post("/echo", json={"a": "é"}) as answer:
        assert (answer.status, await answer.json()) == (200, {"a": "é"})
    async with session.post("/stream", json={}) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        assert (await answer.text()).split("\n\n") == ['data: {"n": 1}', 'data: {"n": 2}', "data: [DONE]", ""]


async def test_the_key_is_needed_but_for_health(desk: Talk) -> None:
    _, session = desk
    wrong = {"authorization": "Bearer other"}
    async with session.post("/echo", json={}, headers=wrong) as answer:
        assert answer.status == 401
    async with session.get("/health", headers=wrong) as answer:
        assert answer.status == 200


async def test_a_client_that_leaves_ends_the_work(desk: Talk) -> None:
    made, session = desk
    async with session.post("/forever", json={}) as answer:
        assert await answer.content.readline() == b'data: {"n": 1}\n'
    await asyncio.wait_for(made.left.wait(), 2)


@pytest.mark.parametrize(
    ("path", "data", "status"),
    [("/nope", b"{}", 404), ("/echo", b"{", 400), ("/echo", b"[]", 400), ("/broken", b"{}", 500)],
)
async def test_what_cannot_be_answered_is_an_error_object(
    desk: Talk, path: str, data: bytes, status: int
) -> None:
    _, session = desk
    async with session.post(path, data=data) as answer:
        assert answer.status == status
        error = (await answer.json())["error"]
    assert error["code"] == status
    assert "secret" not in error["message"]


async def test_an_error_amid_a_stream_stands_in_it(desk: Talk) -> None:
    _, session = desk
    async with session.post("/late", json={}) as answer:
        last = (await answer.text()).strip().split("\n\n")[-1]
    assert json.loads(last[6:])["error"]["param"] == "prompt"


@pytest.mark.parametrize(
    "head",
    [
        b"POST /echo HTTP/1.1\r\nauthorization: Bearer hush\r\ncontent-length: x\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nauthorization: Bearer hush\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nauthorization: Bearer hush\r\ncontent-length: 99999999999\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
)
async def test_heads_that_make_no_sense_are_refused(desk: Talk, head: bytes) -> None:
    _, session = desk
    port = session._base_url.port if session._base_url else 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    assert (await reader.readline()).split()[1][:1] == b"4"
    writer.close()


async def test_a_socket_is_for_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for _ in range(2):  # one that a killed worker left behind is no hindrance
        server = await Site({}, "").listen(str(path))
        assert path.stat().st_mode & 0o777 == 0o600
        server.close()
        await server.wait_closed()
        path.touch()
        path.unlink()


# pooling


def folder(base: Path, **files: Any) -> Path:
    for name, value in files.items():
        target = base / name.replace("__", "/")
        target.parent.mkdir(exist_ok=True)
        target.with_suffix(".json").write_text(json.dumps(value))
    return base


MODULES = [{"type": "sentence_transformers.models.Transformer", "path": ""}]


def test_pooling_is_what_the_models_files_say(tmp_path: Path) -> None:
    assert Pooling.of(tmp_path) == Pooling(("mean",))
    assert Pooling.of(tmp_path, generating=True) == Pooling(("lasttoken",))
    made = folder(
        tmp_path,
        modules=[*MODULES, {"type": "a.Pooling", "path": "2_Pool"}, {"type": "a.Normalize", "path": "3"}],
        **{"2_Pool__config": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}},
        config_sentence_transformers={"prompts": {"query": "q: "}, "default_prompt_name": "query"},
        sentence_bert_config={"do_lower_case": True},
    )
    found = Pooling.of(made)
    assert found == Pooling(("cls",), "q: ", True)
    assert found.text("Hi") == "q: hi"
    folder(made, **{"2_Pool__config": {"pooling_mode": "max"}})
    assert Pooling.of(made).modes == ("max",)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"modules": [*MODULES, {"type": "a.Dense", "path": "2_Dense"}]}, "Dense"),
        ({"modules": [*MODULES, {"type": "a.Pooling", "path": "../../x"}]}, "outside"),
        ({"1_Pooling__config": {"pooling_mode": "magic"}}, "magic"),
    ],
)
def test_steps_that_are_not_known_are_refused(tmp_path: Path, files: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Pooling.of(folder(tmp_path, **files))
