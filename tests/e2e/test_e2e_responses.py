"""The official client on the Responses API and on conversations, over the fake engine."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from support.running import Server, fake, serving, until

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
CALLING = fake(tool_call={"name": "weather", "arguments": {"city": "Paris"}})
OURS = {"authorization": "Bearer unused"}
ENDLESS = fake(tokens=5000, rate=50)


class Answer(BaseModel):
    city: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("responses"), INHOUSE_ENGINE="fake") as running:
        yield running


def connect(server: Server) -> openai.OpenAI:
    url = f"http://127.0.0.1:{server.port}/v1"
    return openai.OpenAI(base_url=url, api_key="unused", max_retries=0)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with connect(server) as made:
        yield made


def say(text: str) -> str:
    return fake(text=text)


def texts(items: Any) -> list[str]:
    return [item.content[0].text for item in items]


def test_a_whole_answer(client: openai.OpenAI) -> None:
    made = client.responses.create(model="fake", input=say("One two."), metadata={"a": "b"})
    assert made.output_text == "One two."
    assert made.status == "completed"
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
    again = client.responses.retrieve(made.id)
    assert again.output == made.output
    assert again.metadata == {"a": "b"}
    assert again.usage == made.usage


def test_the_streaming_helper_ends_with_the_whole_answer(client: openai.OpenAI) -> None:
    seen = []
    with client.responses.stream(model="fake", input=fake(text="One two.", reasoning="Hm so.")) as stream:
        for event in stream:
            seen.append(event.type)
        final = stream.get_final_response()
    assert final.output_text == "One two."
    assert [item.type for item in final.output] == ["reasoning", "message"]
    assert seen[:2] == ["response.created", "response.in_progress"]
    assert seen[-1] == "response.completed"
    whole = client.responses.create(model="fake", input=fake(text="One two.", reasoning="Hm so."))
    assert whole.usage is not None
    assert final.usage is not None
    assert whole.usage.input_tokens == final.usage.input_tokens
    assert whole.usage.output_tokens == final.usage.output_tokens
    assert whole.usage.output_tokens_details == final.usage.output_tokens_details
    assert client.responses.retrieve(final.id).output_text == "One two."


async def test_the_asynchronous_client(server: Server) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{server.port}/v1", api_key="unused", max_retries=0
    ) as client:
        stream = await client.responses.create(model="fake", input=say("One two."), stream=True)
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "One two."


def test_parse_gives_the_object(client: openai.OpenAI) -> None:
    made = client.responses.parse(model="fake", input=say('{"city": "Paris"}'), text_format=Answer)
    assert made.output_parsed == Answer(city="Paris")


def test_a_chain_carries_the_conversation_but_no_instructions(client: openai.OpenAI) -> None:
    first = client.responses.create(model="fake", input=say("I am first."), instructions="Sing.")
    second = client.responses.create(model="fake", input="and?", previous_response_id=first.id)
    echo = client.responses.create(model="fake", input=fake(echo=True), previous_response_id=second.id)
    heard = echo.output_text
    assert heard.index("I am first.") < heard.index("and?")
    assert "Sing." not in heard
    assert echo.previous_response_id == second.id
    assert echo.usage is not None
    assert second.usage is not None
    assert echo.usage.input_tokens > second.usage.input_tokens
    items = client.responses.input_items.list(echo.id, order="asc", limit=2)
    assert len(items.data) == 2
    assert items.has_more
    ids = [item.id for item in client.responses.input_items.list(echo.id, limit=2)]
    assert len(ids) == 5  # the client follows the pages
    assert ids[::-1] == [item.id for item in client.responses.input_items.list(echo.id, order="asc")]


def test_a_response_that_is_not_kept_cannot_be_found(client: openai.OpenAI) -> None:
    made = client.responses.create(model="fake", input=say("x"), store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="fake", input="y", previous_response_id=made.id)
    assert caught.value.param == "previous_response_id"


def test_what_is_deleted_is_gone(client: openai.OpenAI) -> None:
    made = client.responses.create(model="fake", input=say("x"))
    after = client.responses.create(model="fake", input=say("y"), previous_response_id=made.id)
    client.responses.delete(made.id)
    for ask in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            ask(made.id)
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="fake", input="z", previous_response_id=after.id)
    item: Any = {"type": "item_reference", "id": made.output[0].id}
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="fake", input=[item])


def test_items_can_be_named_instead_of_sent(client: openai.OpenAI) -> None:
    made = client.responses.create(model="fake", input=say("I am named."))
    named: Any = [
        {"type": "item_reference", "id": made.output[0].id},
        {"role": "user", "content": fake(echo=True)},
    ]
    echo = client.responses.create(model="fake", input=named)
    assert "I am named." in echo.output_text
    listed = client.responses.input_items.list(echo.id, order="asc").data
    assert listed[0].id == made.output[0].id


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_is_called_and_answered(client: openai.OpenAI, streamed: bool) -> None:
    asked: Any = {"model": "fake", "input": CALLING, "tools": [WEATHER], "tool_choice": "required"}
    if streamed:
        with client.responses.stream(**asked) as stream:
            made: Any = stream.get_final_response()
    else:
        made = client.responses.create(**asked)
    (call,) = [item for item in made.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Paris"})
    output: Any = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "12 degrees"},
        {"role": "user", "content": fake(echo=True)},
    ]
    after = client.responses.create(model="fake", input=output, previous_response_id=made.id, tools=[WEATHER])
    assert "12 degrees" in after.output_text
    sent_back: Any = [
        {"role": "user", "content": "x"},
        call.model_dump(exclude_none=True),
        *output,
    ]
    assert "12 degrees" in client.responses.create(model="fake", input=sent_back, store=False).output_text


def test_reasoning_survives_a_round_trip_without_the_server(client: openai.OpenAI) -> None:
    made = client.responses.create(
        model="fake", input=fake(text="4", reasoning="two and two"), store=False,
        include=["reasoning.encrypted_content"],
    )  # fmt: skip
    thought: Any = made.output[0]
    assert thought.encrypted_content
    assert "two and two" not in thought.encrypted_content
    items: Any = [item.model_dump(exclude_none=True) for item in made.output]
    after = client.responses.create(model="fake", input=[*items, {"role": "user", "content": say("5")}])
    assert after.output_text == "5"
    kept = client.responses.create(model="fake", input=fake(text="4", reasoning="two and two"))
    again: Any = client.responses.retrieve(kept.id, include=["reasoning.encrypted_content"]).output[0]
    assert again.encrypted_content == thought.encrypted_content


def test_logprobs_where_they_are_asked_for(client: openai.OpenAI) -> None:
    made = client.responses.create(
        model="fake", input=say("One two."), include=["message.output_text.logprobs"], top_logprobs=2
    )
    part: Any = made.output[0]
    logprobs = part.content[0].logprobs
    assert "".join(one.token for one in logprobs) == "One two."
    assert all(len(one.top_logprobs) == 2 for one in logprobs)


def test_a_cut_answer_is_incomplete_streamed_and_whole(client: openai.OpenAI) -> None:
    made = client.responses.create(model="fake", input=say("One two three."), max_output_tokens=1)
    assert made.status == "incomplete"
    assert made.incomplete_details is not None
    assert made.incomplete_details.reason == "max_output_tokens"
    events = list(
        client.responses.create(model="fake", input=say("One two three."), max_output_tokens=1, stream=True)
    )
    assert events[-1].type == "response.incomplete"
    assert client.responses.retrieve(made.id).status == "incomplete"


def test_tokens_are_counted_as_a_response_counts_them(client: openai.OpenAI) -> None:
    first = client.responses.create(model="fake", input=say("x"), instructions="Be brief.")
    assert first.usage is not None
    counted = client.responses.input_tokens.count(model="fake", input=say("x"), instructions="Be brief.")
    assert counted.input_tokens == first.usage.input_tokens
    more = client.responses.input_tokens.count(model="fake", input="and?", previous_response_id=first.id)
    assert more.input_tokens > counted.input_tokens


def test_tools_that_are_not_here_are_named(server: Server, client: openai.OpenAI) -> None:
    tools: Any = [WEATHER, {"type": "web_search"}]
    body = {"model": "fake", "input": say("x"), "tools": tools}
    answer = server.ask("POST", "/v1/responses", body)
    assert "web_search" in answer.headers["x-inhouse-warning"]
    assert answer.json["warnings"][0]["code"] == "tool_not_offered"
    assert [tool["type"] for tool in answer.json["tools"]] == ["function"]
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="fake", input="x", tools=[{"type": "web_search"}])
    assert caught.value.param == "tools[0].type"


def test_errors_before_the_first_byte_have_their_status(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.responses.create(model="nope", input="x", stream=True)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="nope", input="x", background=True)
    with pytest.raises(openai.BadRequestError) as long:
        client.responses.create(model="fake", input="word " * 20_000)
    assert (long.value.code, long.value.param) == ("context_length_exceeded", "input")
    with pytest.raises(openai.InternalServerError):
        client.responses.create(model="fake", input=fake(error={"status": 500, "message": "x"}), stream=True)
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.compact(model="gpt-5", input="x")
    assert refused.value.code == "unsupported"


def test_a_failure_in_the_stream_is_said_and_kept(client: openai.OpenAI) -> None:
    events = list(
        client.responses.create(model="fake", input=fake(tokens=50, rate=200, error_after=20), stream=True)
    )
    assert [event.type for event in events[-2:]] == ["error", "response.failed"]
    failed: Any = events[-1]
    assert failed.response.error.message
    kept = client.responses.retrieve(failed.response.id)
    assert kept.status == "failed"
    assert kept.output_text


def test_a_long_conversation_can_be_shortened(client: openai.OpenAI) -> None:
    items: Any = [{"role": "user", "content": "word " * 3000} for _ in range(5)] + [
        {"role": "user", "content": say("short")}
    ]
    made = client.responses.create(model="fake", input=items, truncation="auto")
    assert made.output_text == "short"
    assert made.truncation == "auto"


def test_a_background_response_is_polled(client: openai.OpenAI) -> None:
    made = client.responses.create(model="fake", input=fake(tokens=20, rate=100), background=True)
    assert made.status == "queued"
    assert made.output == []
    done = until(
        lambda: (found := client.responses.retrieve(made.id)).status == "completed" and found, what="the end"
    )
    assert done.output_text
    assert done.background
    after = client.responses.create(model="fake", input=fake(echo=True), previous_response_id=made.id)
    assert done.output_text in after.output_text
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.retrieve(made.id, stream=True)
    assert caught.value.param == "stream"


def test_a_background_response_fails_by_itself(client: openai.OpenAI) -> None:
    made = client.responses.create(model="fake", input=fake(tokens=50, error_after=5), background=True)
    done = until(
        lambda: (found := client.responses.retrieve(made.id)).status == "failed" and found, what="the failure"
    )
    assert done.error is not None
    assert done.error.code == "server_error"


def test_a_background_stream_is_left_and_taken_up_again(client: openai.OpenAI) -> None:
    asked: Any = {"model": "fake", "input": fake(tokens=60, rate=60), "background": True, "stream": True}
    seen = []
    with client.responses.create(**asked) as stream:
        for event in stream:
            seen.append(event)
            if len(seen) > 12:
                break
    assert [event.type for event in seen[:3]] == [
        "response.created", "response.queued", "response.in_progress",
    ]  # fmt: skip
    ident = seen[0].response.id
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="fake", input="x", previous_response_id=ident)
    rest = list(client.responses.retrieve(ident, stream=True, starting_after=seen[-1].sequence_number))
    numbers = [event.sequence_number for event in [*seen, *rest]]
    assert numbers == list(range(len(numbers)))
    assert rest[-1].type == "response.completed"
    replayed = list(client.responses.retrieve(ident, stream=True))
    assert [event.to_dict() for event in replayed] == [event.to_dict() for event in [*seen, *rest]]
    with client.responses.stream(response_id=ident) as again:
        assert again.get_final_response().output_text == rest[-1].response.output_text


def test_a_background_response_is_cancelled(server: Server, client: openai.OpenAI) -> None:
    made = client.responses.create(model="fake", input=ENDLESS, background=True, stream=True)
    ident = next(iter(made)).response.id  # type: ignore[union-attr]
    until(lambda: client.responses.retrieve(ident).output_text, what="some text")
    assert client.responses.cancel(ident).status == "cancelled"
    assert client.responses.cancel(ident).status == "cancelled"
    kept = client.responses.retrieve(ident)
    assert kept.status == "cancelled"
    assert kept.output[0].status == "incomplete"  # type: ignore[union-attr]
    until(lambda: server.busy() == 0, what="the free slot")
    assert list(client.responses.retrieve(ident, stream=True))[-1].type == "response.output_item.done"


def test_a_response_that_was_just_asked_for_is_cancelled(client: openai.OpenAI) -> None:
    idents = [client.responses.create(model="fake", input=ENDLESS, background=True).id for _ in range(3)]
    assert {client.responses.cancel(ident).status for ident in idents} == {"cancelled"}
    deleted = client.responses.create(model="fake", input=ENDLESS, background=True).id
    client.responses.delete(deleted)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(deleted)


def test_only_background_responses_can_be_cancelled(client: openai.OpenAI) -> None:
    made = client.responses.create(model="fake", input=say("x"))
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.cancel("resp_nope")


def test_a_conversation_holds_what_was_said(client: openai.OpenAI) -> None:
    first: Any = [{"role": "user", "content": "My name is Kim."}]
    conversation = client.conversations.create(items=first, metadata={"topic": "x"})
    client.responses.create(model="fake", input=say("Hello Kim."), conversation=conversation.id)
    made = client.responses.create(
        model="fake", input=fake(echo=True), conversation={"id": conversation.id}, store=False
    )
    assert made.conversation is not None
    assert made.conversation.id == conversation.id
    assert "My name is Kim." in made.output_text
    assert "Hello Kim." in made.output_text
    items = client.conversations.items.list(conversation.id, order="asc").data
    assert texts(items)[0] == "My name is Kim."
    assert texts(items)[2] == "Hello Kim."
    assert len(items) == 5
    newest = client.conversations.items.list(conversation.id, limit=2)
    assert [item.id for item in newest.data] == [item.id for item in items[:2:-1]]
    assert len(list(newest)) == 5  # the client follows the pages


def test_a_response_tells_what_of_a_conversation_it_saw(client: openai.OpenAI) -> None:
    conversation = client.conversations.create(items=[{"role": "user", "content": "before"}])
    made = client.responses.create(model="fake", input=say("x"), conversation=conversation.id)
    client.conversations.items.create(conversation.id, items=[{"role": "user", "content": "after"}])
    assert texts(client.responses.input_items.list(made.id, order="asc")) == ["before", say("x")]
    following = client.responses.create(model="fake", input=fake(echo=True), previous_response_id=made.id)
    assert "before" in following.output_text
    assert "after" not in following.output_text


def test_new_items_of_a_conversation_are_shown_with_what_is_included(client: openai.OpenAI) -> None:
    conversation = client.conversations.create()
    thought: Any = {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}]}
    made = client.conversations.items.create(
        conversation.id, items=[thought], include=["reasoning.encrypted_content"]
    )
    assert getattr(made.data[0], "encrypted_content", None)
    with pytest.raises(openai.BadRequestError) as caught:
        client.conversations.items.create(conversation.id, items=[thought], include=["odd"])  # type: ignore[list-item]
    assert caught.value.param == "include[0]"


def test_an_item_can_be_in_two_conversations(client: openai.OpenAI) -> None:
    one = client.conversations.create(items=[{"role": "user", "content": "shared"}])
    item = client.conversations.items.list(one.id).data[0].id
    named: Any = [{"type": "item_reference", "id": item}]
    two = client.conversations.create(items=named)
    client.conversations.items.create(two.id, items=named)
    client.responses.create(
        model="fake", input=[*named, {"role": "user", "content": say("x")}], conversation=one.id
    )
    assert texts(client.conversations.items.list(one.id, order="asc"))[:2] == ["shared", "shared"]
    assert texts(client.conversations.items.list(two.id)) == ["shared", "shared"]
    client.conversations.delete(two.id)
    assert client.conversations.items.retrieve(str(item), conversation_id=one.id).id == item


def test_conversations_are_changed_and_deleted(client: openai.OpenAI) -> None:
    made = client.conversations.create()
    assert client.conversations.update(made.id, metadata={"a": "b"}).metadata == {"a": "b"}
    found = client.conversations.retrieve(made.id)
    assert (found.metadata, found.created_at) == ({"a": "b"}, made.created_at)
    added = client.conversations.items.create(made.id, items=[{"role": "user", "content": "x"}])
    item = added.data[0].id
    assert item is not None
    assert client.conversations.items.retrieve(item, conversation_id=made.id).id == item
    client.conversations.items.delete(item, conversation_id=made.id)
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.retrieve(item, conversation_id=made.id)
    assert client.conversations.delete(made.id).deleted
    for ask in (client.conversations.retrieve, client.conversations.delete, client.conversations.items.list):
        with pytest.raises(openai.NotFoundError):
            ask(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="fake", input="x", conversation=made.id)


def test_one_response_at_a_time_works_on_a_conversation(client: openai.OpenAI) -> None:
    conversation = client.conversations.create()
    running = client.responses.create(
        model="fake", input=ENDLESS, conversation=conversation.id, background=True
    )
    with pytest.raises(openai.ConflictError):
        client.responses.create(model="fake", input="x", conversation=conversation.id)
    with pytest.raises(openai.ConflictError):
        client.conversations.items.create(conversation.id, items=[{"role": "user", "content": "x"}])
    client.responses.cancel(running.id)
    made = client.responses.create(model="fake", input=say("now"), conversation=conversation.id)
    assert made.output_text == "now"


def test_a_client_that_leaves_gives_its_conversation_back(server: Server, client: openai.OpenAI) -> None:
    conversation = client.conversations.create()
    with client.responses.create(
        model="fake", input=ENDLESS, conversation=conversation.id, stream=True
    ) as stream:
        next(iter(stream))
    until(lambda: server.busy() == 0, what="the free slot")
    assert client.conversations.items.list(conversation.id).data == []
    assert (
        client.responses.create(model="fake", input=say("y"), conversation=conversation.id).output_text == "y"
    )


def test_nobody_sees_what_another_key_keeps(server: Server, client: openai.OpenAI) -> None:
    conversation = client.conversations.create(items=[{"role": "user", "content": "secret"}])
    item = client.conversations.items.list(conversation.id).data[0].id
    made = client.responses.create(model="fake", input=say("x"))
    running = client.responses.create(model="fake", input=ENDLESS, background=True)
    others = {"authorization": "Bearer another"}
    for method, path in (
        ("GET", f"responses/{made.id}"), ("GET", f"responses/{made.id}/input_items"),
        ("GET", f"responses/{running.id}"), ("GET", f"responses/{running.id}?stream=true"),
        ("POST", f"responses/{running.id}/cancel"), ("DELETE", f"responses/{running.id}"),
        ("GET", f"conversations/{conversation.id}"), ("DELETE", f"conversations/{conversation.id}"),
        ("GET", f"conversations/{conversation.id}/items"),
        ("GET", f"conversations/{conversation.id}/items/{item}"),
    ):  # fmt: skip
        body = None if method == "GET" else {}
        assert server.ask(method, f"/v1/{path}", body, others).status == 404, path
    for more in ({"previous_response_id": made.id}, {"conversation": conversation.id}):
        refused = server.ask("POST", "/v1/responses", {"model": "fake", "input": "x", **more}, others)
        assert refused.status in (400, 404)
    named = [{"type": "item_reference", "id": ident} for ident in (item, made.output[0].id)]
    for one in named:
        assert server.ask("POST", "/v1/responses", {"model": "fake", "input": [one]}, others).status == 404
    client.responses.cancel(running.id)


def test_bad_queries_are_refused_by_name(server: Server, client: openai.OpenAI) -> None:
    made = client.responses.create(model="fake", input=say("x"))
    for query, param in (
        ("input_items?limit=0", "limit"), ("input_items?limit=x", "limit"), ("input_items?order=up", "order"),
        ("input_items?after=msg_nope", "after"), ("input_items?include=odd", "include[0]"),
    ):  # fmt: skip
        answer = server.ask("GET", f"/v1/responses/{made.id}/{query}", headers=OURS)
        assert (answer.status, answer.json["error"]["param"]) == (400, param)
    for query, param in (
        ("stream=maybe", "stream"),
        ("include[]=odd", "include[0]"),
        ("stream=true", "stream"),
    ):
        answer = server.ask("GET", f"/v1/responses/{made.id}?{query}", headers=OURS)
        assert (answer.status, answer.json["error"]["param"]) == (400, param)
    many = "&".join(f"f{i}=1" for i in range(200))
    assert server.ask("GET", f"/v1/responses/{made.id}?{many}", headers=OURS).status == 400
    assert server.ask("GET", "/v1/responses/resp_nope?stream=true", headers=OURS).status == 404


def test_too_many_background_responses_are_refused(tmp_path: Any) -> None:
    with serving(tmp_path / "h", INHOUSE_ENGINE="fake") as server, connect(server) as client:
        idents = [client.responses.create(model="fake", input=ENDLESS, background=True).id for _ in range(64)]
        with pytest.raises(openai.RateLimitError) as caught:
            client.responses.create(model="fake", input="x", background=True)
        assert caught.value.response.headers["retry-after"]
        with ThreadPoolExecutor(8) as pool:
            assert {one.status for one in pool.map(client.responses.cancel, idents)} == {"cancelled"}
        assert client.responses.create(model="fake", input=say("x"), background=True).status == "queued"


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_what_ran_when_the_server_stopped_has_failed(tmp_path: Any, sig: int) -> None:
    server = Server(tmp_path / "h", {"INHOUSE_ENGINE": "fake", "INHOUSE_DRAIN_TIMEOUT": "1"}).start()
    try:
        with connect(server) as client:
            done = client.responses.create(model="fake", input=say("kept"))
            made = client.responses.create(model="fake", input=ENDLESS, background=True)
            until(lambda: client.responses.retrieve(made.id).output_text, what="some text")
        server.stop(sig)
        server.start()
        with connect(server) as client:
            after = client.responses.retrieve(made.id)
            assert after.status == "failed"
            assert after.error is not None
            assert client.responses.retrieve(done.id).output_text == "kept"
            assert client.responses.cancel(made.id).status == "failed"
            client.responses.delete(made.id)
    finally:
        server.stop()


def test_a_server_that_keeps_nothing_says_so(tmp_path: Any) -> None:
    with (
        serving(tmp_path / "h", INHOUSE_ENGINE="fake", INHOUSE_KEEP="0") as server,
        connect(server) as client,
    ):
        made = client.responses.create(model="fake", input=say("x"))
        assert made.output_text == "x"
        assert made.to_dict()["store"] is False
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(made.id)
        for asked in ({"store": True}, {"background": True}):
            with pytest.raises(openai.BadRequestError) as caught:
                client.responses.create(model="fake", input="x", **asked)  # type: ignore[call-overload]
            assert caught.value.param in asked
            assert "INHOUSE_KEEP" in caught.value.message
        with pytest.raises(openai.BadRequestError):
            client.conversations.create()


def test_an_answer_that_cannot_be_kept_is_an_error(tmp_path: Any) -> None:
    with (
        serving(tmp_path / "h", INHOUSE_ENGINE="fake", INHOUSE_KEEP_MAX="2k") as server,
        connect(server) as client,
    ):
        with pytest.raises(openai.InternalServerError) as caught:
            client.responses.create(model="fake", input=fake(tokens=2000))
        assert caught.value.status_code == 507
        events = list(client.responses.create(model="fake", input=fake(tokens=2000), stream=True))
        assert [event.type for event in events[-2:]] == ["error", "response.failed"]
        assert client.responses.create(model="fake", input=say("x"), store=False).output_text == "x"


def test_uploaded_files_are_read(client: openai.OpenAI) -> None:
    kept = client.files.create(file=("notes.txt", b"The word is plum."), purpose="user_data")
    parts: Any = [{"type": "input_file", "file_id": kept.id, "filename": "notes.txt"}]
    asked: Any = [{"role": "user", "content": parts}, {"role": "user", "content": fake(echo=True)}]
    made = client.responses.create(model="fake", input=asked)
    assert "The word is plum." in made.output_text
    parts[0]["file_id"] = "file-nope"
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(model="fake", input=asked)
    assert caught.value.param == "input[0].content[0].file_id"


def test_clients_of_the_same_conversation_take_turns(client: openai.OpenAI) -> None:
    conversation = client.conversations.create()
    outcome: list[str] = []
    barrier = threading.Barrier(4)

    def ask(_: int) -> None:
        barrier.wait()
        try:
            made = client.responses.create(
                model="fake", input=fake(text="one two three", rate=20), conversation=conversation.id
            )
            outcome.append(str(made.status))
        except openai.ConflictError:
            outcome.append("conflict")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))
    done = outcome.count("completed")
    assert done >= 1
    assert len(client.conversations.items.list(conversation.id).data) == 2 * done
