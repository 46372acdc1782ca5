"""Bodies of Anthropic's API -> canonical requests, and what is refused with which words."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.errors import BadRequest, ModelNotFound
from inhouse.core.messages import (
    Format,
    Grammar,
    Image,
    Message,
    Reasoning,
    Remote,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from inhouse.core.requests import Chat, Render
from inhouse.dialects.anthropic import check_headers, decode_count_tokens, decode_messages, render_error
from inhouse.dialects.anthropic.thinking import Signer
from inhouse.dialects.images import MAX_IMAGES

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
PNG_SOURCE = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
TOOL: dict[str, Any] = {"name": "f", "input_schema": {"type": "object"}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
RESULT: dict[str, Any] = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": blocks[0] if blocks and isinstance(blocks[0], str) else list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {**user(*blocks), "role": "assistant"}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def decode(*turns: Any, **more: Any) -> Chat:
    body = {"model": "m", "max_tokens": 9, "messages": list(turns) or [user("hi")], **more}
    request = decode_messages(json.dumps(body).encode()).request
    assert isinstance(request, Chat)
    return request


def refused(*turns: Any, **more: Any) -> tuple[str, str]:
    """The path of the field and the message that a client reads."""
    with pytest.raises(BadRequest) as caught:
        decode(*turns, **more)
    answer = render_error(caught.value)
    assert answer.status == 400
    told = json.loads(answer.body)
    assert told["type"] == "error"
    assert told["error"]["type"] == "invalid_request_error"
    return caught.value.param or "", told["error"]["message"]


def test_a_conversation_in_the_words_of_the_house():
    chat = decode(
        user("What is in it?"),
        assistant({"type": "thinking", "thinking": "Look.", "signature": "s"}, text("I look."), USE),
        user(RESULT, text("Now?")),
        system=[text("Be brief."), text("Be kind.")],
    )
    assert chat.messages == (
        Message("system", (Text("Be brief.\nBe kind."),)),
        Message("user", (Text("What is in it?"),)),
        Message("assistant", (Reasoning("Look.", "s"), Text("I look."), ToolCall("toolu_1", "f", '{"a":1}'))),
        Message("tool", (ToolResult("x", "toolu_1", "f"),)),
        Message("user", (Text("Now?"),)),
    )


def test_consecutive_messages_of_a_role_are_one_turn():
    chat = decode(user("a"), user(text("b"), text("\nc")), assistant("d"), assistant(text("e")), user("f"))
    assert [(m.role, m.text) for m in chat.messages] == [
        ("user", "a\nb\nc"),
        ("assistant", "de"),
        ("user", "f"),
    ]


def test_results_come_before_what_else_their_turn_says():
    second = {**USE, "id": "toolu_2"}
    chat = decode(
        user("x"),
        assistant(USE, second),
        user(text("Here:"), {**RESULT, "tool_use_id": "toolu_2"}),
        user(RESULT),
    )
    assert [m.role for m in chat.messages] == ["user", "assistant", "tool", "tool", "user"]
    assert [p.call_id for m in chat.messages for p in m.parts if isinstance(p, ToolResult)] == [
        "toolu_2",
        "toolu_1",
    ]


def test_a_system_message_may_stand_within_the_conversation():
    chat = decode(user("a"), {"role": "system", "content": "Mind the gap."}, assistant("b"), user("c"))
    assert [m.role for m in chat.messages] == ["user", "system", "assistant", "user"]


def test_an_empty_answer_may_be_sent_back():
    chat = decode(user("a"), assistant(), user("b"), assistant(text("")), user("c"))
    assert [m.text for m in chat.messages] == ["a\nb\nc"] or [m.text for m in chat.messages] == [
        "a",
        "b",
        "c",
    ]
    assert all(m.role == "user" for m in chat.messages)


@pytest.mark.parametrize(
    ("result", "want"),
    [
        ({"content": "x", "is_error": True}, "Error: x"),
        ({"content": "error: x", "is_error": True}, "error: x"),
        ({"content": "x", "is_error": False}, "x"),
        ({"content": None}, ""),
        ({"content": [text("a"), text("b")]}, "a\nb"),
        (
            {"content": [{"type": "search_result", "source": "s", "title": "t", "content": [text("found")]}]},
            "<search_result>\n<source>s</source>\n<title>t</title>\nfound\n</search_result>",
        ),
    ],
)
def test_the_text_of_a_tool_result(result, want):
    chat = decode(user("x"), assistant(USE), user({**RESULT, **result}))
    (part,) = chat.messages[2].parts
    assert isinstance(part, ToolResult)
    assert (part.text, part.call_id, part.name) == (want, "toolu_1", "f")


def test_a_tool_result_may_hold_images():
    content = [text("see"), {"type": "image", "source": PNG_SOURCE}]
    (part,) = decode(user("x"), assistant(USE), user({**RESULT, "content": content})).messages[2].parts
    assert isinstance(part, ToolResult)
    assert part.images == (Image(PNG, "image/png"),)
    assert part.text == "see"


def test_images_at_addresses_count_as_images():
    far = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    here = {"type": "image", "source": PNG_SOURCE}
    assert len(decode(user(*[here] * (MAX_IMAGES - 1), far)).messages[0].parts) == MAX_IMAGES
    assert refused(user(*[here] * MAX_IMAGES, far))[0] == "messages"


def test_images_and_documents_become_parts():
    document = {"type": "text", "media_type": "text/plain", "data": "Once."}
    chat = decode(
        user(
            {"type": "image", "source": PNG_SOURCE},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            {"type": "document", "title": "T", "context": "C", "source": document},
        )
    )
    assert chat.messages[0].parts == (
        Image(PNG, "image/png"),
        Remote("https://example.com/a.png", "image", "messages[0].content[1].source.url"),
        Text("<document>\n<title>T</title>\n<context>C</context>\nOnce.\n</document>"),
    )


@pytest.mark.parametrize(
    "source",
    [
        {"type": "text", "media_type": "text/plain", "data": "Grüße"},
        {"type": "base64", "media_type": "text/plain", "data": base64.b64encode("Grüße".encode()).decode()},
        {"type": "content", "content": "Grüße"},
        {"type": "content", "content": [text("Grüße")]},
    ],
)
def test_every_source_of_a_text_document(source):
    chat = decode(user({"type": "document", "source": source}))
    assert chat.messages[0].text == "<document>\nGrüße\n</document>"


def test_a_document_at_an_address_is_left_to_whoever_may_fetch_it():
    source = {"type": "url", "url": "https://example.com/a.txt"}
    parts = decode(user({"type": "document", "source": source})).messages[0].parts
    assert parts[1] == Remote("https://example.com/a.txt", "text", "messages[0].content[0].source.url")
    assert [p.text for p in parts if isinstance(p, Text)] == ["<document>\n", "</document>"]


@pytest.mark.parametrize(
    ("block", "at"),
    [
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "source.type"),
        ({"type": "image", "source": {**PNG_SOURCE, "media_type": "image/gif"}}, "source.media_type"),
        ({"type": "image", "source": {**PNG_SOURCE, "media_type": "image/jpeg"}}, "source.media_type"),
        ({"type": "image", "source": {**PNG_SOURCE, "data": "!"}}, "source.data"),
        ({"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}}, "source.url"),
        (
            {"type": "image", "source": PNG_SOURCE, "transformations": {"oversized_image": "error"}},
            "transformations",
        ),
        ({"type": "document", "source": {"type": "file", "file_id": "f"}}, "source.type"),
        ({"type": "document", "source": {"type": "url", "url": "ftp://x/y"}}, "source.url"),
        (
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": ""}},
            "source.media_type",
        ),
        (
            {"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": "/w=="}},
            "source.data",
        ),
        (
            {
                "type": "document",
                "citations": {"enabled": True},
                "source": {"type": "content", "content": "x"},
            },
            "citations.enabled",
        ),
        ({"type": "text"}, "text"),
        ({"type": "text", "text": ""}, "text"),
        ({"text": "x"}, "type"),
        ({"type": "odd"}, "type"),
        ({"type": "tool_use", "id": "a", "name": "f", "input": {}}, "type"),
    ],
)
def test_a_block_that_cannot_be_taken_is_refused_by_its_path(block, at):
    param, told = refused(user(text("x"), block))
    assert param == f"messages[0].content[1].{at}"
    assert told.startswith(f"messages.0.content.1.{at}: ")


@pytest.mark.parametrize(
    ("turns", "param", "words"),
    [
        (
            [user(RESULT)],
            "messages[0].content[0].tool_use_id",
            "messages.0.content.0.tool_use_id: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1. "
            "Each `tool_result` block must have a corresponding `tool_use` block in the previous message.",
        ),
        (
            [user("x"), assistant(USE), user(RESULT, RESULT)],
            "messages[2].content[1].tool_use_id",
            "Found multiple `tool_result` blocks with id: toolu_1",
        ),
        (
            [user("x"), assistant(USE), user("y")],
            "messages[1]",
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1. "
            "Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
        ),
        ([user("x"), assistant(USE)], "messages[1]", "`tool_result` blocks immediately after: toolu_1"),
        (
            [user("x"), assistant(USE), user(RESULT), assistant("y"), user(RESULT)],
            "messages[4].content[0].tool_use_id",
            "unexpected `tool_use_id`",
        ),
        ([user("x"), assistant(USE, USE), user(RESULT)], "messages[1].content[1].id", "ids must be unique"),
        ([user("x"), assistant("y ")], "messages[1].content", "cannot end with trailing whitespace"),
        ([user("x"), assistant(text("y\n"))], "messages[1].content", "cannot end with trailing whitespace"),
        ([user("")], "messages[0].content", "must have non-empty content"),
        ([user()], "messages[0].content", "must have non-empty content"),
        ([{"role": "tool", "content": "x"}], "messages[0].role", "'user', 'assistant', 'system'"),
        ([{"content": "x"}], "messages[0].role", "messages.0.role: Field required"),
        ([{"role": "user"}], "messages[0].content", "messages.0.content: Field required"),
        ([{"role": "user", "content": 5}], "messages[0].content", "expected a string or an array"),
        ([{"role": "system", "content": "x"}], "messages", "at least one message"),
        ([user("x"), assistant({**USE, "id": "a b"})], "messages[1].content[0].id", "letters"),
        ([user("x"), assistant({**USE, "input": None})], "messages[1].content[0].input", "Field required"),
        (
            [user("x"), assistant({**USE, "caller": {"type": "code_execution_20250825", "tool_id": "t"}})],
            "messages[1].content[0].caller",
            "not supported",
        ),
        (
            [user("x"), assistant({"type": "image", "source": PNG_SOURCE})],
            "messages[1].content[0].type",
            "assistant",
        ),
    ],
)
def test_a_conversation_that_makes_no_sense_is_refused_in_anthropics_words(turns, param, words):
    got, told = refused(*turns)
    assert got == param
    assert words in told


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 0, "stream": True}, "stream"),
        ({"max_tokens": 0, "tools": [TOOL], "tool_choice": {"type": "any"}}, "tool_choice"),
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"system": 5}, "system"),
        ({"system": [{"type": "image", "source": PNG_SOURCE}]}, "system[0].type"),
        ({"temperature": 1.1}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ({"stop_sequences": ["x"] * 65}, "stop_sequences"),
        ({"metadata": {"user_id": "x" * 513}}, "metadata.user_id"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"cache_control": {"type": "lasting"}}, "cache_control.type"),
        ({"cache_control": {"type": "ephemeral", "ttl": "1d"}}, "cache_control.ttl"),
        ({"cache_control": {}}, "cache_control.type"),
        ({"system": [{**text("x"), "cache_control": {"type": "ephemeral"}}] * 5}, "system[4].cache_control"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1023}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "between_tools"}}, "thinking.type"),
        ({"thinking": {"type": "adaptive", "display": "updates"}}, "thinking.display"),
        ({"thinking": {}}, "thinking.type"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        (
            {"output_config": {"format": {"type": "grammar", "grammar": {"text": "x"}}}},
            "output_config.format.grammar.kind",
        ),
        (
            {
                "output_format": {"type": "json_schema", "schema": {}},
                "output_config": {"format": {"type": "json_schema", "schema": {}}},
            },
            "output_format",
        ),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": {}}, "tool_choice.type"),
        ({"tools": [TOOL, TOOL]}, "tools[1].name"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{**TOOL, "name": "a b"}]}, "tools[0].name"),
        ({"tools": [{**TOOL, "input_schema": {"type": "string"}}]}, "tools[0].input_schema.type"),
        ({"tools": [{**TOOL, "input_schema": {"$ref": "http://x"}}]}, "tools[0].input_schema"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "tools"),
        ({"tools": [{"type": "computer_20250124", "name": "computer"}]}, "tools[0].type"),
        ({"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}, "tools[0].type"),
        (
            {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
            "context_management.edits[0].type",
        ),
        (
            {"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}},
            "context_management.edits[0].keep",
        ),
    ],
    ids=str,
)
def test_a_field_that_cannot_be_taken_is_refused_by_its_path(more, param):
    assert refused(**more)[0] == param


def test_a_missing_field_is_told_as_the_official_server_does():
    assert refused(max_tokens=None)[1].startswith("max_tokens: Field required")


@pytest.mark.parametrize(
    ("more", "think", "wish", "budget"),
    [
        ({}, False, None, None),
        ({"thinking": {"type": "disabled"}}, False, None, None),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, False, None, None),
        ({"thinking": {"type": "adaptive"}}, None, None, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}, None, "max", None),
        ({"output_config": {"effort": "low"}}, None, "low", None),
        ({"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1500}}, True, None, 1500),
        ({"tools": [TOOL], "thinking": {"type": "enabled", "budget_tokens": 1500}}, True, None, 1500),
    ],
    ids=str,
)
def test_what_thinking_is_asked_for(more, think, wish, budget):
    chat = decode(**more)
    assert (chat.think, chat.think_wish, chat.think_budget) == (think, wish, budget)


def test_an_answer_that_has_begun_is_not_thought_about():
    begun = [user("x"), assistant("The answer is")]
    assert decode(*begun, output_config={"effort": "high"}).think is False
    assert decode(*begun, thinking={"type": "adaptive"}).think is False
    enabled = {"type": "enabled", "budget_tokens": 1024}
    assert refused(*begun, max_tokens=2000, thinking=enabled)[0] == "messages"


@pytest.mark.parametrize(
    ("choice", "want", "parallel"),
    [
        ({"type": "auto"}, ToolChoice(), None),
        ({"type": "any"}, ToolChoice("required"), None),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice("required"), False),
        ({"type": "tool", "name": "f"}, ToolChoice("required", "f"), None),
        ({"type": "none"}, ToolChoice("none"), None),
        ({"type": "auto", "disable_parallel_tool_use": False}, ToolChoice(), None),
    ],
)
def test_the_choice_of_a_tool(choice, want, parallel):
    chat = decode(tools=[TOOL], tool_choice=choice)
    assert (chat.tool_choice, chat.parallel_tool_calls) == (want, parallel)


@pytest.mark.parametrize(
    ("more", "want"),
    [
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            Format("schema", {"type": "object"}, param="output_config.format.schema"),
        ),
        (
            {"output_format": {"type": "json_schema", "schema": {}, "enforcement": "after"}},
            Format("schema", {}, after=True, param="output_format.schema"),
        ),
        (
            {"output_config": {"format": {"type": "grammar", "grammar": {"kind": "regex", "text": "a+"}}}},
            Format("grammar", grammar=Grammar("regex", "a+"), param="output_config.format.grammar"),
        ),
    ],
)
def test_the_format_of_the_answer(more, want):
    assert decode(**more).format == want


@pytest.mark.parametrize(
    ("kind", "name", "needs"),
    [
        ("bash_20250124", "bash", "command"),
        ("text_editor_20250728", "str_replace_based_edit_tool", "insert_text"),
        ("text_editor_20250429", "str_replace_based_edit_tool", "path"),
        ("text_editor_20250124", "str_replace_editor", "path"),
        ("memory_20250818", "memory", "old_path"),
    ],
)
def test_client_tools_are_told_to_the_model_as_documented(kind, name, needs):
    (tool,) = decode(tools=[{"type": kind, "name": name}]).tools
    assert tool.name == name
    assert tool.description
    assert needs in tool.parameters["properties"]
    assert refused(tools=[{"type": kind, "name": "other"}])[0] == "tools[0].name"


def test_examples_of_input_are_shown_to_the_model():
    (tool,) = decode(tools=[{**TOOL, "description": "Does.", "input_examples": [{"a": 1}]}]).tools
    assert tool.description == 'Does.\nExamples of input:\n{"a":1}'


def test_a_deferred_tool_comes_with_the_result_that_refers_to_it():
    late = {"name": "late", "input_schema": {"type": "object"}, "defer_loading": True}
    found = {**RESULT, "content": [{"type": "tool_reference", "tool_name": "late"}]}
    assert [t.name for t in decode(tools=[TOOL, late]).tools] == ["f"]
    turns = [user("x"), assistant(USE), user(found)]
    assert [t.name for t in decode(*turns, tools=[TOOL, late]).tools] == ["f", "late"]
    assert refused(*turns, tools=[TOOL])[0] == "tools"


def test_the_longest_breakpoint_is_how_long_the_cache_is_wanted():
    short, long = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}
    assert decode().pin is None
    assert decode(user({**text("x"), "cache_control": short})).pin == 300
    assert decode(tools=[{**TOOL, "cache_control": long}], cache_control=short).pin == 3600
    result = user({**RESULT, "cache_control": short})
    assert decode(user("x"), assistant(USE), result).pin == 300


def test_defaults_give_way_to_those_of_the_model():
    sampling = decode().sampling
    assert (sampling.temperature, sampling.top_p) == (None, None)
    assert sampling.fallback is not None
    assert (sampling.fallback.temperature, sampling.fallback.top_p) == (1.0, 1.0)
    chosen = decode(temperature=0, top_k=7, stop_sequences=["a"]).sampling
    assert (chosen.temperature, chosen.top_k, chosen.stop, chosen.max_tokens) == (0, 7, ("a",), 9)


def test_thoughts_left_out_come_back_with_their_signature():
    signer = Signer(hidden=True)
    signer.add("Grüße, ")
    signer.add("Welt")
    block = {"type": "thinking", "thinking": "", "signature": signer.signature()}
    parts = decode(user("x"), assistant(block, text("y")), user("z")).messages[1].parts
    assert parts[0] == Reasoning("Grüße, Welt", signer.signature())


@pytest.mark.parametrize("signature", ["", "foreign", "c2ln", "/////w=="])
def test_foreign_signatures_pass_through(signature):
    block = {"type": "thinking", "thinking": "hm", "signature": signature}
    parts = decode(user("x"), assistant(block, text("y")), user("z")).messages[1].parts
    assert parts[0] == Reasoning("hm", signature)


def test_a_count_is_of_the_same_chat():
    body: dict[str, Any] = {"model": "m", "messages": [user("hi")], "system": "s", "tools": [TOOL]}
    body["keep_alive"] = 60
    counted = decode_count_tokens(json.dumps(body).encode()).request
    asked = decode_messages(json.dumps({**body, "max_tokens": 9}).encode()).request
    assert isinstance(counted, Render)
    assert isinstance(asked, Chat)
    same = ("messages", "tools", "tool_choice", "think", "format", "model")
    assert [getattr(counted.chat, name) for name in same] == [getattr(asked, name) for name in same]
    assert (counted.model, counted.keep_alive) == ("m", 60.0)


def test_clients_are_told_by_a_code_to_do_without_threads():
    with pytest.raises(BadRequest) as caught:
        decode(thread={"type": "create"})
    told = json.loads(render_error(caught.value).body)["error"]
    assert told["details"] == {"error_code": "thread_unsupported_request"}
    assert "details" not in json.loads(render_error(BadRequest("x", param="thread")).body)["error"]


def test_unknown_fields_are_noted():
    body = {"model": "m", "max_tokens": 9, "messages": [{**user("x"), "odd": 1}], "strange": 2}
    assert decode_messages(json.dumps(body).encode()).noted == ("strange", "messages[0].odd")


def test_claude_code_is_understood():
    """What version 2.1.197 sends, with prompts and tools shortened and put into our own words."""
    body = (Path(__file__).parent / "anthropic_claude_code.json").read_bytes()
    decoded = decode_messages(body)
    chat = decoded.request
    assert isinstance(chat, Chat)
    assert [m.role for m in chat.messages] == ["system", "user", "system", "assistant", "tool", "tool"]
    assert chat.messages[0].text == "You are a program.\nFollow the rules of the house."
    assert (chat.think, chat.think_wish, chat.pin, chat.sampling.max_tokens) == (None, "high", 300, 32000)
    assert len(chat.tools) == 3
    assert decoded.encoder.streaming
    assert decoded.noted == ("metadata.user_id",)


@pytest.mark.parametrize("version", [None, "2023-06-01", "2026-10-21"])
def test_a_version_is_a_date_or_absent(version):
    check_headers({"anthropic-version": version, "anthropic-beta": "a,b"}.get)


def test_a_version_that_is_no_date_is_refused():
    with pytest.raises(BadRequest) as caught:
        check_headers({"anthropic-version": "latest"}.get)
    assert json.loads(render_error(caught.value).body)["error"]["message"].startswith("anthropic-version: ")


def test_a_missing_model_is_not_found():
    answer = render_error(ModelNotFound("claude-x"))
    told = json.loads(answer.body)["error"]
    assert (answer.status, told["type"]) == (404, "not_found_error")
    assert "claude-x" in told["message"]
