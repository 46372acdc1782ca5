"""Input items -> the conversation."""

from __future__ import annotations

import base64
import json

import pytest

from dialects.responses_support import composed, order
from inhouse.core.errors import BadRequest
from inhouse.core.messages import Image, Message, Reasoning, Remote, Text, ToolCall, ToolResult
from inhouse.dialects.openai.responses import decode_conversation, decode_items, renewed, shown_item
from inhouse.dialects.openai.responses.content import named_files
from inhouse.dialects.openai.responses.sealed import seal, unseal

USER = {"role": "user", "content": "hi"}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "42"}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PNG = f"data:image/png;base64,{PIXEL}"
TEXT_FILE = "data:text/plain;base64," + base64.b64encode(b"a,b").decode()


def parts(*content):
    return composed({"role": "user", "content": list(content)})[0].parts


def test_a_string_is_a_message_of_the_user():
    asked = order(input="hi", instructions="Be brief.")
    (item,) = asked.items
    assert item["content"] == [{"type": "input_text", "text": "hi"}]
    assert item["id"].startswith("msg_")
    assert composed(*asked.items, instructions="Be brief.") == (
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("hi"),)),
    )


def test_short_and_full_messages_are_the_same():
    full = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    assert composed(USER) == composed(full)
    spoken = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "yes"}]}
    assert composed(USER, {"role": "assistant", "content": "yes"}) == composed(USER, spoken)


def test_a_developer_is_the_system():
    assert composed({"role": "developer", "content": "x"})[0].role == "system"


def test_what_the_assistant_did_in_a_row_is_one_message():
    thought = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "hm"}],
    }
    made = composed(USER, thought, {"role": "assistant", "content": "let me see"}, CALL, OUTPUT)
    assert made[1:] == (
        Message("assistant", (Reasoning("hm"), Text("let me see"), ToolCall("c1", "f", "{}"))),
        Message("tool", (ToolResult("42", "c1", "f"),)),
    )


def test_two_messages_of_the_assistant_stay_two():
    made = composed({"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}, USER)
    assert [message.text for message in made] == ["a", "b", "hi"]


def test_results_may_come_in_any_order_after_their_calls():
    other = {**CALL, "call_id": "c2", "name": "g"}
    made = composed(USER, CALL, other, {**OUTPUT, "call_id": "c2"}, OUTPUT)
    assert [message.role for message in made] == ["user", "assistant", "tool", "tool"]
    assert [part.name for message in made[2:] for part in message.parts] == ["g", "f"]


def test_custom_calls_carry_text():
    call = {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": 'a "b"'}
    result = {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"}
    made = composed(USER, call, result)
    assert made[1].parts == (ToolCall("c1", "patch", '{"input": "a \\"b\\""}'),)
    assert made[2].parts == (ToolResult("done", "c1", "patch"),)


def test_a_namespace_is_part_of_the_name_the_model_knows():
    assert composed(USER, {**CALL, "namespace": "home"})[1].parts == (ToolCall("c1", "home__f", "{}"),)


def test_results_may_have_parts():
    output = [{"type": "input_text", "text": "see "}, {"type": "input_image", "image_url": PNG}]
    (result,) = composed(USER, CALL, {**OUTPUT, "output": output})[2].parts
    assert result.text == "see "
    assert isinstance(result.images[0], Image)


def test_parts_of_the_user():
    assert isinstance(parts({"type": "input_image", "image_url": PNG, "detail": "auto"})[0], Image)
    far = parts({"type": "input_image", "image_url": "https://example.com/a.png"})[0]
    assert far == Remote("https://example.com/a.png", "image", "input[0].content[0].image_url")
    near = parts({"type": "input_file", "file_data": TEXT_FILE, "filename": "a.csv"})[0]
    assert "a,b" in near.text
    assert "a.csv" in near.text
    remote = parts({"type": "input_file", "file_url": "https://example.com/a.txt"})[0]
    assert (remote.url, remote.kind) == ("https://example.com/a.txt", "text")


def test_a_breakpoint_wants_the_prompt_again():
    marked = {
        "type": "input_text",
        "text": "x",
        "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"},
    }
    asked = order(input=[{"role": "user", "content": [marked]}], prompt_cache_options={"ttl": "30m"})
    placed = [("input[0]", asked.items[0])]
    assert asked.compose(placed, {}).pin == 43_200.0


def test_kept_files_are_put_in():
    items = [
        {"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]},
        {"role": "user", "content": [{"type": "input_image", "file_id": "file_2"}]},
    ]
    assert named_files(items) == {"file_1", "file_2"}
    asked = order(input=items)
    placed = [(f"input[{i}]", item) for i, item in enumerate(asked.items)]
    files = {"file_1": b"the text", "file_2": base64.b64decode(PIXEL)}
    made = asked.compose(placed, files).messages
    assert "the text" in made[0].text
    assert isinstance(made[1].parts[0], Image)


def test_sealed_reasoning_comes_back_as_text():
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal("Grüße 思")}
    assert composed(item, USER)[0].parts == (Reasoning("Grüße 思"),)


def test_reasoning_of_another_service_is_passed_on_untouched():
    item = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "short"}],
        "encrypted_content": "gAAAA",
    }
    assert composed(item, USER)[0].parts == (Reasoning("short", "gAAAA"),)
    empty = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
    assert composed(empty, USER) == composed(USER)


@pytest.mark.parametrize("damaged", ["inhouse1.%%%", "inhouse1.gA", "inhouse1._w==", ""])
def test_damaged_sealed_text_is_no_text(damaged):
    assert unseal(damaged) is None


def test_the_seal_is_added_where_it_is_asked_for():
    item = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "hm"}],
    }
    wanted = frozenset({"reasoning.encrypted_content"})
    assert unseal(shown_item(item, wanted)["encrypted_content"]) == "hm"
    assert shown_item(item, frozenset()) == item
    assert shown_item(USER, wanted) == USER


@pytest.mark.parametrize(
    "wrong", [{"summary": 5}, {"content": [3]}, {"content": [{"text": 1}]}, {"encrypted_content": 5}]
)
def test_thoughts_that_cannot_be_shown_are_not_kept(wrong):
    body = json.dumps({"items": [{"type": "reasoning", **wrong}]}).encode()
    with pytest.raises(BadRequest) as caught:
        decode_items(body)
    assert str(caught.value.param).startswith(f"items[0].{next(iter(wrong))}")


def test_thoughts_without_a_text_are_shown():
    (item,) = decode_items(b'{"items": [{"type": "reasoning", "content": [{}], "summary": null}]}')
    shown = shown_item(item, frozenset({"reasoning.encrypted_content"}))
    assert unseal(shown["encrypted_content"]) == ""


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ([OUTPUT], "input[0].call_id"),
        ([OUTPUT, CALL], "input[0].call_id"),
        ([{**CALL, "call_id": ""}], "input[0].call_id"),
        ([{**CALL, "name": None}], "input[0].name"),
        ([{**CALL, "arguments": None}], "input[0].arguments"),
        ([{"type": "custom_tool_call", "call_id": "c", "name": "n"}], "input[0].input"),
        ([CALL, {**OUTPUT, "output": None}], "input[1].output"),
        ([{"role": "tool", "content": "x"}], "input[0].role"),
        ([{"role": "robot", "content": "x"}], "input[0].role"),
        ([{"content": "x"}], "input[0].role"),
        ([{"role": "user"}], "input[0].content"),
        ([{"role": "user", "content": []}], "input[0].content"),
        ([{"role": "user", "content": 3}], "input[0].content"),
        ([{"role": "user", "content": [{"text": "x"}]}], "input[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "odd"}]}], "input[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "input[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "input_text"}]}], "input[0].content[0].text"),
        ([{"role": "user", "content": [{"type": "input_image"}]}], "input[0].content[0].image_url"),
        (
            [{"role": "user", "content": [{"type": "input_image", "image_url": "file:///x"}]}],
            "input[0].content[0].image_url",
        ),
        ([{"role": "user", "content": [{"type": "input_file"}]}], "input[0].content[0].file_data"),
        (
            [{"role": "user", "content": [{"type": "input_file", "file_data": "JVBERi0xLg=="}]}],
            "input[0].content[0].file_data",
        ),
        ([{"role": "user", "content": [{"type": "input_image", "image_url": PNG}] * 33}], "input"),
        ([{"type": "reasoning", "id": "r", "content": ["x"]}], "input[0].content[0]"),
        ([{"type": "reasoning", "id": "r", "content": []}], "input"),
    ],
    ids=lambda value: str(value)[:70],
)
def test_what_is_wrong_is_refused_by_its_path(items, param):
    with pytest.raises(BadRequest) as caught:
        composed(*items)
    assert caught.value.param == param


def test_items_of_a_conversation_get_ids_of_their_own():
    (item,) = renewed(decode_items(b'{"items": [{"id": "msg_theirs", "role": "user", "content": "x"}]}'))
    assert item["id"].startswith("msg_")
    assert item["id"] != "msg_theirs"
    metadata, items = decode_conversation(b"")
    assert (metadata, items) == ({}, [])


@pytest.mark.parametrize(
    "body",
    [
        b'{"items": []}',
        b"{}",
        b'{"items": "x"}',
        b'{"items": [%s]}' % b",".join([b'{"role":"user","content":"x"}'] * 21),
    ],
)
def test_conversations_take_up_to_twenty_items_at_once(body):
    with pytest.raises(BadRequest) as caught:
        decode_items(body)
    assert caught.value.param == "items"
