"""The official OpenAI client against the fake engine: what is kept, files, and the shapes of answers."""

from __future__ import annotations

import base64
import http.client
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from support.running import Server, fake, serving

HI: Any = [{"role": "user", "content": fake(text="Hello there")}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(
        tmp_path_factory.mktemp("home"), INHOUSE_ENGINE="fake", INHOUSE_KEEP_FILE_SIZE="1MB"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("home"), INHOUSE_ENGINE="fake", INHOUSE_KEEP="0") as running:
        yield running


def client_of(server: Server, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key=key, max_retries=0)


@pytest.fixture
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    """Each test is a tenant of its own."""
    with client_of(server, request.node.name) as made:
        yield made


@pytest.fixture
def other(server: Server) -> Iterator[openai.OpenAI]:
    with client_of(server, "somebody else") as made:
        yield made


@pytest.mark.parametrize("stream", [False, True])
def test_a_stored_completion_is_told_again(client: openai.OpenAI, stream: bool) -> None:
    more: Any = {"stream_options": {"include_usage": True}} if stream else {}
    answer = client.chat.completions.create(
        model="fake", messages=HI, store=True, metadata={"topic": "x"}, seed=7, stream=stream, **more
    )
    if stream:
        chunks = list(answer)
        ident, text = chunks[0].id, "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        usage = chunks[-1].usage
    else:
        ident, text, usage = answer.id, answer.choices[0].message.content, answer.usage
    kept = client.chat.completions.retrieve(ident)
    assert kept.choices[0].message.content == text == "Hello there"
    assert kept.choices[0].finish_reason == "stop"
    assert kept.usage == usage
    assert kept.object == "chat.completion"
    assert (kept.metadata, kept.model_extra["seed"]) == ({"topic": "x"}, 7)
    (message,) = client.chat.completions.messages.list(ident)
    assert (message.id, message.content) == (f"{ident}-0", HI[0]["content"])


def test_what_is_not_stored_is_not_kept(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="fake", messages=HI)
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.retrieve(answer.id)
    assert caught.value.param == "completion_id"
    assert list(client.chat.completions.list()) == []


def test_stored_completions_are_listed_updated_and_deleted(
    client: openai.OpenAI, other: openai.OpenAI
) -> None:
    made = [
        client.chat.completions.create(
            model=model, messages=HI, store=True, metadata={"n": str(i), "even": str(i % 2 == 0)}
        ).id
        for i, model in enumerate(["fake", "fake:latest", "fake", "fake", "fake"])
    ]
    completions = client.chat.completions
    assert [one.id for one in completions.list()] == made
    assert [one.id for one in completions.list(limit=2)] == made  # the client turns the pages
    assert completions.list(limit=2).has_more is True
    assert [one.id for one in completions.list(order="desc", limit=2).data] == made[:2:-1]
    assert [one.id for one in completions.list(after=made[2]).data] == made[3:]
    assert [one.id for one in completions.list(model="fake:latest")] == [made[1]]
    assert [one.id for one in completions.list(metadata={"even": "True"})] == [made[0], made[2], made[4]]
    assert [one.id for one in completions.list(metadata={"even": "True", "n": "2"})] == [made[2]]

    changed = completions.update(made[0], metadata={"new": "1"})
    assert changed.metadata == {"new": "1"}
    assert completions.retrieve(made[0]).metadata == {"new": "1"}
    assert completions.update(made[0], metadata=None).metadata == {}

    for action in (
        lambda: other.chat.completions.retrieve(made[0]),
        lambda: other.chat.completions.delete(made[0]),
        lambda: other.chat.completions.update(made[0], metadata={}),
        lambda: list(other.chat.completions.messages.list(made[0])),
    ):
        with pytest.raises(openai.NotFoundError):
            action()
    assert list(other.chat.completions.list()) == []

    assert completions.delete(made[0]).deleted is True
    with pytest.raises(openai.NotFoundError):
        completions.delete(made[0])
    assert [one.id for one in completions.list()] == made[1:]


def test_the_messages_of_a_stored_completion_come_in_pages(client: openai.OpenAI) -> None:
    messages: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "ann"},
        {"role": "assistant", "content": "c"},
        *HI,
    ]  # fmt: skip
    ident = client.chat.completions.create(model="fake", messages=messages, store=True).id
    told = list(client.chat.completions.messages.list(ident, limit=3))
    assert [one.content for one in told] == ["Be brief.", "ab", "c", HI[0]["content"]]
    assert told[1].model_extra["name"] == "ann"
    assert told[1].content_parts is not None
    assert [part.text for part in told[1].content_parts] == ["a", "b"]
    newest = client.chat.completions.messages.list(ident, order="desc", limit=1).data
    assert [one.id for one in newest] == [f"{ident}-3"]


def test_a_bad_page_is_named(client: openai.OpenAI) -> None:
    for bad, param in (({"limit": 0}, "limit"), ({"after": "nope"}, "after"), ({"order": "up"}, "order")):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.list(**bad)
        assert caught.value.param == param
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.update("x", metadata={"k": "v" * 513})
    assert caught.value.param == "metadata.k"


def test_files_are_kept(client: openai.OpenAI, other: openai.OpenAI) -> None:
    content = bytes(range(256)) * 1000
    made = client.files.create(file=("../../x ü.bin", content), purpose="user_data")
    assert (made.bytes, made.filename, made.purpose, made.status) == (
        256_000,
        "../../x ü.bin",
        "user_data",
        "processed",
    )
    assert made.expires_at == pytest.approx(time.time() + 30 * 86_400, abs=60)
    assert client.files.retrieve(made.id) == made
    answer = client.files.content(made.id)
    assert answer.content == content
    assert (
        answer.response.headers["content-disposition"]
        == "attachment; filename*=UTF-8''..%2F..%2Fx%20%C3%BC.bin"
    )
    for action in (other.files.retrieve, other.files.content, other.files.delete):
        with pytest.raises(openai.NotFoundError):
            action(made.id)
    assert client.files.delete(made.id).deleted is True
    for action in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            action(made.id)
        assert "No such File object" in caught.value.message


def test_files_are_listed(client: openai.OpenAI) -> None:
    made = [
        client.files.create(file=(f"{i}.jsonl", b"{}"), purpose=purpose).id
        for i, purpose in enumerate(["batch", "vision", "batch"])
    ]
    assert [one.id for one in client.files.list()] == made[::-1]
    assert [one.id for one in client.files.list(order="asc", limit=1)] == made
    assert [one.id for one in client.files.list(purpose="batch")] == [made[2], made[0]]
    assert client.files.wait_for_processing(made[0]).status == "processed"


def test_a_file_can_have_an_end(client: openai.OpenAI) -> None:
    made = client.files.create(
        file=("a", b""), purpose="evals", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert made.expires_at == made.created_at + 3600
    assert made.bytes == 0
    assert client.files.content(made.id).content == b""


def test_files_of_batches_last_thirty_days(client: openai.OpenAI) -> None:
    made = client.files.create(file=("a", b"x"), purpose="batch")
    assert made.expires_at == made.created_at + 30 * 86_400


@pytest.mark.parametrize(
    "more, param",
    [
        ({"purpose": "fun"}, "purpose"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after.seconds"),
    ],
)
def test_bad_uploads_are_named(client: openai.OpenAI, more: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(**{"file": ("a", b"x"), "purpose": "batch", **more})
    assert caught.value.param == param
    assert list(client.files.list()) == []


def form(*parts: tuple[str, str | None, bytes]) -> tuple[bytes, dict[str, str]]:
    out = b""
    for name, filename, content in parts:
        named = "" if filename is None else f'; filename="{filename}"'
        out += f'--XX\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode()
        out += content + b"\r\n"
    return out + b"--XX--\r\n", {"content-type": "multipart/form-data; boundary=XX"}


def test_fields_may_come_after_the_file(server: Server) -> None:
    body, headers = form(("file", "a", b"xyz"), ("purpose", None, b"batch"), ("other", None, b"x"))
    answer = server.ask("POST", "/v1/files", body, headers)
    assert (answer.status, answer.json["bytes"], answer.json["purpose"]) == (200, 3, "batch")


@pytest.mark.parametrize(
    "parts, param",
    [
        ([("purpose", None, b"batch")], "file"),
        ([("file", None, b"x"), ("purpose", None, b"batch")], "file"),
        ([("file", "a", b"x")], "purpose"),
        ([("file", "a", b"x"), ("file", "b", b"x"), ("purpose", None, b"batch")], "file"),
        ([("purpose", None, b"batch"), ("file", "a", b"x"), ("expires_after[seconds]", None, b"3600")], "expires_after.anchor"),
    ],
)  # fmt: skip
def test_incomplete_uploads_are_named_and_leave_nothing(server: Server, parts: Any, param: str) -> None:
    contents = server.home / "kept" / "contents"
    before = sorted(contents.iterdir()) if contents.exists() else []
    body, headers = form(*parts)
    answer = server.ask("POST", "/v1/files", body, headers)
    assert (answer.status, answer.json["error"]["param"]) == (400, param)
    assert sorted(contents.iterdir()) == before


def test_uploads_that_are_no_forms_are_refused(server: Server) -> None:
    assert server.ask("POST", "/v1/files", {"purpose": "batch"}).status == 400
    body, headers = form(("purpose", None, b"batch"), ("file", "a", b"x"))
    assert server.ask("POST", "/v1/files", body[:-20], headers).status == 400
    assert server.ask("POST", "/v1/files", body, {**headers, "content-encoding": "gzip"}).status == 415


def test_too_large_files_are_refused_before_and_while_they_are_read(
    client: openai.OpenAI, server: Server
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.files.create(file=("a", b"x" * (2**20 + 1)), purpose="batch")
    assert caught.value.status_code == 413
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest("POST", "/v1/files")
    connection.putheader("content-type", "multipart/form-data; boundary=XX")
    connection.putheader("content-length", str(2**40))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("connection")) == (413, "close")
    answer.read()
    answer.close()
    connection.close()


@pytest.mark.parametrize("given", ["file_id", "file_data"])
def test_text_files_are_part_of_a_message(client: openai.OpenAI, given: str) -> None:
    text = fake(text="from the file").encode()
    if given == "file_id":
        file = {"file_id": client.files.create(file=("a.txt", text), purpose="user_data").id}
    else:
        data = base64.b64encode(text).decode()
        file = {"file_data": f"data:text/plain;base64,{data}", "filename": "a.txt"}
    messages: Any = [{"role": "user", "content": [{"type": "file", "file": file}]}]
    plain = client.chat.completions.create(model="fake", messages=HI)
    answer = client.chat.completions.create(model="fake", messages=messages)
    assert answer.usage is not None
    assert plain.usage is not None
    assert answer.usage.prompt_tokens > plain.usage.prompt_tokens


def test_files_of_others_and_files_that_are_no_text_are_refused(
    client: openai.OpenAI, other: openai.OpenAI
) -> None:
    def ask(ident: str) -> None:
        part: Any = {"type": "file", "file": {"file_id": ident}}
        client.chat.completions.create(model="fake", messages=[{"role": "user", "content": [part]}])

    for ident in (
        "file-nope",
        other.files.create(file=("a.txt", b"x"), purpose="user_data").id,
        client.files.create(file=("a.pdf", b"%PDF-1.7"), purpose="user_data").id,
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(ident)
        assert caught.value.param == "messages[0].content[0].file.file_id"


def test_where_nothing_is_kept_it_is_said(bare: Server) -> None:
    with client_of(bare, "x") as client:
        for action in (
            client.files.list,
            lambda: client.files.create(file=("a", b"x"), purpose="batch"),
            lambda: client.files.content("x"),
            client.chat.completions.list,
        ):
            with pytest.raises(openai.PermissionDeniedError):
                action()
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="fake", messages=HI, store=True)
        assert caught.value.param == "store"
        assert client.chat.completions.create(model="fake", messages=HI, store=False).choices
    assert not (bare.home / "kept").exists()


def test_what_is_kept_outlives_the_server(tmp_path: Any) -> None:
    with serving(tmp_path, INHOUSE_ENGINE="fake") as running, client_of(running, "x") as client:
        ident = client.chat.completions.create(model="fake", messages=HI, store=True).id
        file = client.files.create(file=("a", b"abc"), purpose="batch").id
        assert running.process is not None
        running.process.kill()
        running.process.wait(10)
        running.start()
        with client_of(running, "x") as again:
            assert again.chat.completions.retrieve(ident).choices[0].message.content == "Hello there"
            assert again.files.content(file).content == b"abc"


def test_service_tiers_are_answered(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="fake", messages=HI, service_tier="priority")
    assert answer.service_tier == "priority"
    chunks = list(client.chat.completions.create(model="fake", messages=HI, service_tier="auto", stream=True))
    assert {chunk.service_tier for chunk in chunks} == {"default"}
    assert client.chat.completions.create(model="fake", messages=HI).service_tier is None


def test_padded_streams_say_the_same(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="fake", messages=HI, stream=True,
            stream_options={"include_obfuscation": True, "include_usage": True},
        )
    )  # fmt: skip
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello there"
    assert all(
        chunk.model_extra.get("obfuscation") is not None or chunk.obfuscation is not None
        for chunk in chunks[:-1]
    )


def test_the_clients_stream_helper_folds_the_whole_answer(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="fake", messages=HI) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == "Hello there"
    assert final.choices[0].finish_reason == "stop"


async def test_the_asynchronous_client(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="async", max_retries=0) as client:
        made = await client.files.create(file=("a.txt", b"abc"), purpose="assistants")
        assert (await client.files.content(made.id)).content == b"abc"
        answer = await client.chat.completions.create(model="fake", messages=HI, store=True)
        assert [one.id async for one in client.chat.completions.list()] == [answer.id]
        text = ""
        async for chunk in await client.chat.completions.create(model="fake", messages=HI, stream=True):
            text += chunk.choices[0].delta.content or ""
        assert text == "Hello there"


def test_errors_are_those_of_the_client(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nope", messages=HI)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="fake", messages=HI, temperature=3)
    assert (bad.value.type, bad.value.param) == ("invalid_request_error", "temperature")


@pytest.mark.parametrize("stream", [False, True])
def test_a_completion_that_cannot_be_kept_is_answered_with_a_warning(tmp_path: Any, stream: bool) -> None:
    with serving(tmp_path, INHOUSE_ENGINE="fake", INHOUSE_KEEP_MAX="100") as running:
        answer = running.chat("hi", store=True, stream=stream)
        assert answer.status == 200
        if stream:
            assert b': warning {"code":"not_stored"' in answer.body
            assert answer.events[-1] == "[DONE]"
        else:
            assert answer.json["warnings"][0]["code"] == "not_stored"
        assert running.ask("GET", "/v1/chat/completions").json["data"] == []
