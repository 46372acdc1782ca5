"""What the fields of chat completions become: tools in all shapes, formats, hints, parts, what is kept."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects.answers_support import body
from dialects.test_openai_requests import CALL, CALLED, CHAT, HI, TEXT, F, chat, messages, param_of
from inhouse.core.errors import BadRequest, BodyTooLarge, Unsupported
from inhouse.core.messages import (
    Format,
    Grammar,
    Message,
    Remote,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from inhouse.dialects import textfiles
from inhouse.dialects.openai import StoredChat, decode_chat, decode_completions
from inhouse.dialects.openai.files import check_filename, check_lifetime, check_purpose, file_object, kept_id
from inhouse.dialects.openai.lists import read_query, render_list
from inhouse.dialects.openai.stored import input_messages

G = {"type": "function", "function": {"name": "g"}}
C = {"type": "custom", "custom": {"name": "c", "description": "Runs code."}}
INPUT = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}


def part_of(part: dict) -> object:
    (message,) = messages({"role": "user", "content": [part]})
    return message.parts[0]


def data(text: str | bytes, kind: str = "text/plain") -> str:
    raw = text.encode() if isinstance(text, str) else text
    return f"data:{kind};base64,{base64.b64encode(raw).decode()}"


@pytest.mark.parametrize(
    "tier, priority, told",
    [
        ("auto", 0, "default"),
        ("default", 0, "default"),
        ("scale", 0, "default"),
        ("flex", -1, "flex"),
        ("priority", 1, "priority"),
        ("fast", 1, "priority"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_service_tiers_are_places_in_the_queue(tier, priority, told, stream):
    decoded = decode_chat(body(CHAT, {"service_tier": tier, "stream": stream}))
    assert decoded.request.priority == priority
    head = decoded.encoder.head if not stream else json.loads(decoded.encoder._open[6:] + b'"x":1}')
    assert (head["service_tier"] if stream else head.tier) == told


@pytest.mark.parametrize(
    "more, pin",
    [
        ({}, None),
        ({"prompt_cache_retention": "24h"}, 86_400),
        ({"prompt_cache_retention": "in_memory"}, None),
        ({"prompt_cache_options": {"ttl": "30m"}}, 1800),
        ({"prompt_cache_options": {"ttl": "30m"}, "prompt_cache_retention": "24h"}, 86_400),
        ({"prompt_cache_options": {"mode": "explicit"}}, None),
    ],
)
def test_how_long_a_prompt_is_wanted_again(more, pin):
    assert chat(**more).pin == pin


def test_breakpoints_say_how_long_a_prompt_is_wanted_again():
    def pin(**marked: str) -> float | None:
        part = {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit", **marked}}
        return chat(messages=[{"role": "user", "content": [part]}]).pin

    assert (pin(), pin(ttl="30m"), pin(ttl="12h")) == (1800, 1800, 43_200)


@pytest.mark.parametrize(
    "more, think, budget",
    [
        ({"reasoning": {"effort": "xhigh"}}, "max", None),
        ({"reasoning": {"effort": "none"}}, False, None),
        ({"reasoning": {"max_tokens": 9}}, None, 9),
        ({"reasoning": {"enabled": True, "exclude": False}}, True, None),
        ({"reasoning": {"enabled": True, "effort": "low"}}, "low", None),
        ({"reasoning_effort": "low", "reasoning": {"effort": "low"}, "think_budget": 0}, "low", 0),
        ({"thinking_budget": 5}, None, 5),
        ({"thinking_budget": 5, "think_budget": 5}, None, 5),
    ],
)
def test_thinking_in_the_words_of_others(more, think, budget):
    request = chat(**more)
    assert (request.think, request.think_budget) == (think, budget)


@pytest.mark.parametrize(
    "more, param",
    [
        ({"reasoning_effort": "low", "reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"think_budget": 5, "thinking_budget": 6}, "thinking_budget"),
        ({"repeat_penalty": 1.1, "repetition_penalty": 1.2}, "repetition_penalty"),
        ({"tools": [F], "functions": [{"name": "f"}]}, "tools"),
        ({"tool_choice": "auto", "functions": [{"name": "f"}]}, "tool_choice"),
        ({"functions": [{"name": "f"}], "parallel_tool_calls": True}, "parallel_tool_calls"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call.name"),
        ({"functions": [{"name": "f"}], "function_call": "always"}, "function_call"),
        ({"function_call": "auto"}, "functions"),
        ({"tools": [F, {**C, "custom": {"name": "f"}}]}, "tools[1].custom.name"),
        ({"tools": [C], "tool_choice": {"type": "custom", "custom": {"name": "x"}}}, "tool_choice.custom.name"),
        (
            {"tools": [F], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [G]}}},
            "tool_choice.allowed_tools.tools[0].function.name",
        ),
        ({"grammar": "root ::= \"a\"", "response_format": {"type": "json_object"}}, "grammar"),
        ({"guided_regex": "a", "structured_outputs": {"json_object": True}}, "guided_regex"),
        ({"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "grammar"}}}]}, "tools[0].custom.format"),
        ({"messages": [HI, {"role": "assistant", "content": "x"}], "add_generation_prompt": True}, "add_generation_prompt"),
        ({"messages": [HI, {"role": "assistant", "content": "x"}], "continue_final_message": False}, "continue_final_message"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_named(more, param):
    assert param_of(decode_chat, CHAT, more) == param


def test_what_happens_anyway_may_be_asked_for():
    assert chat(add_generation_prompt=True, continue_final_message=False) == chat()
    prefill = [HI, {"role": "assistant", "content": "So"}]
    more = {"add_generation_prompt": False, "continue_final_message": True}
    assert chat(messages=prefill, **more) == chat(messages=prefill)


def test_template_arguments_reach_the_request():
    assert chat(chat_template_kwargs={"enable_thinking": False}).template_args == {"enable_thinking": False}
    deep: dict = {}
    for _ in range(70):
        deep = {"a": deep}
    assert param_of(decode_chat, CHAT, {"chat_template_kwargs": deep}) == "chat_template_kwargs"


def test_neutral_values_of_foreign_sampling_are_fine():
    assert chat(mirostat=0, min_tokens=0, ignore_eos=False, length_penalty=1.0, stop_token_ids=[]) == chat()


def test_sampling_extensions_reach_the_request():
    sampling = chat(typical_p=0.5, repetition_penalty=1.25, repeat_last_n=-1).sampling
    assert (sampling.typical_p, sampling.repeat_penalty, sampling.repeat_last_n) == (0.5, 1.25, -1)
    assert chat(repeat_penalty=1.5, repetition_penalty=1.5).sampling.repeat_penalty == 1.5


def test_custom_tools_are_functions_of_one_text():
    request = chat(tools=[F, C], tool_choice={"type": "custom", "custom": {"name": "c"}})
    assert request.tools == (Tool("f"), Tool("c", "Runs code.", INPUT))
    assert request.tool_choice == ToolChoice("required", "c")
    assert (
        chat(tools=[{"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}]).tools[0].name
        == "c"
    )


def test_calls_of_custom_tools_come_back():
    call = {"id": "x", "type": "custom", "custom": {"name": "c", "input": 'print("ü")\n'}}
    (message, result) = messages(
        {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "x", "content": "ok"}
    )
    assert isinstance(message.parts[0], ToolCall)
    assert json.loads(message.parts[0].arguments) == {"input": 'print("ü")\n'}
    assert result.parts == (ToolResult("ok", "x", "c"),)


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_only_the_allowed_tools_are_on_offer(mode):
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [G, C]}}
    request = chat(tools=[F, G, C], tool_choice=allowed)
    assert [tool.name for tool in request.tools] == ["g", "c"]
    assert request.tool_choice == ToolChoice(mode)


def test_functions_of_the_old_way_are_tools():
    request = chat(functions=[{"name": "f", "description": "d"}], function_call={"name": "f"})
    assert request.tools == (Tool("f", "d"),)
    assert request.tool_choice == ToolChoice("required", "f")
    assert request.parallel_tool_calls is False
    assert chat(functions=[{"name": "f"}], function_call="none").tool_choice == ToolChoice("none")
    assert chat(functions=[{"name": "f"}], function_call="auto").tool_choice == ToolChoice()


def test_messages_of_the_old_way_are_calls_and_results():
    asked = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    told = {"role": "function", "name": "f", "content": "42"}
    parts = [m.parts[0] for m in messages(HI, asked, told, asked, told)]
    first, second = parts[1], parts[3]
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert first.id != second.id
    assert parts[2] == ToolResult("42", first.id, "f")
    assert parts[4] == ToolResult("42", second.id, "f")


def test_results_may_come_in_any_order():
    calls = {**CALLED, "tool_calls": [CALL, {**CALL, "id": "c2"}]}
    results = messages(
        calls,
        {"role": "tool", "tool_call_id": "c2", "content": "2"},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "1"}]},
    )[1:]
    assert [m.parts for m in results] == [(ToolResult("2", "c2", "f"),), (ToolResult("1", "c1", "f"),)]


GBNF = 'root ::= "a"'
OBJECT = {"type": "object"}


@pytest.mark.parametrize(
    "more, want",
    [
        ({"grammar": GBNF}, Format("grammar", grammar=Grammar("gbnf", GBNF), param="grammar")),
        ({"guided_grammar": GBNF}, Format("grammar", grammar=Grammar("gbnf", GBNF), param="guided_grammar")),
        (
            {"guided_grammar": 'start: "a"'},
            Format("grammar", grammar=Grammar("lark", 'start: "a"'), param="guided_grammar"),
        ),
        ({"guided_regex": "a+"}, Format("grammar", grammar=Grammar("regex", "a+"), param="guided_regex")),
        ({"guided_json": OBJECT}, Format("schema", OBJECT, param="guided_json")),
        ({"guided_json": '{"type": "object"}'}, Format("schema", OBJECT, param="guided_json")),
        ({"json_schema": OBJECT}, Format("schema", OBJECT, param="json_schema")),
        (
            {"guided_choice": ["yes", 'n"o\\', "\n"]},
            Format(
                "grammar",
                grammar=Grammar("gbnf", r'root ::= "yes" | "n\"o\\" | "\x0a"'),
                param="guided_choice",
            ),
        ),
        ({"structured_outputs": {"json": OBJECT}}, Format("schema", OBJECT, param="structured_outputs.json")),
        (
            {"structured_outputs": {"regex": "a", "disable_fallback": True, "disable_any_whitespace": False}},
            Format("grammar", grammar=Grammar("regex", "a"), param="structured_outputs.regex"),
        ),
        ({"structured_outputs": {"json_object": True}}, Format("json", param="structured_outputs.json_object")),
        (
            {"structured_outputs": {"choice": ["é"]}},
            Format("grammar", grammar=Grammar("gbnf", 'root ::= "é"'), param="structured_outputs.choice"),
        ),
        ({"response_format": {"type": "json_object"}}, Format("json")),
        (
            {"response_format": {"type": "json_object", "schema": OBJECT}},
            Format("schema", OBJECT, param="response_format.schema"),
        ),
        (
            {"response_format": {"type": "json_object", "value": OBJECT}},
            Format("schema", OBJECT, param="response_format.value"),
        ),
        (
            {"response_format": {"type": "grammar", "grammar": GBNF}},
            Format("grammar", grammar=Grammar("gbnf", GBNF), param="response_format.grammar"),
        ),
        (
            {"response_format": {"type": "grammar", "grammar": {"kind": "lark", "text": "start: x"}}},
            Format("grammar", grammar=Grammar("lark", "start: x"), param="response_format.grammar"),
        ),
        (
            {"response_format": {"type": "grammar", "grammar": {"type": "regex", "text": "a"}}},
            Format("grammar", grammar=Grammar("regex", "a"), param="response_format.grammar"),
        ),
        ({"response_format": {"type": "text"}, "grammar": GBNF}, Format("grammar", grammar=Grammar("gbnf", GBNF), param="grammar")),
    ],
)  # fmt: skip
def test_formats_in_everybodys_words(more, want):
    assert chat(**more).format == want
    assert decode_completions(body(TEXT, more)).request.format == want


@given(st.lists(st.text(min_size=1, alphabet=st.characters(codec="utf-8")), min_size=1, max_size=5))
def test_choices_are_words_of_their_grammar(texts):
    wanted = decode_chat(body(CHAT, {"guided_choice": texts})).request.format
    quoted = wanted.grammar.text.removeprefix("root ::= ")
    back = json.loads("[" + quoted.replace('" | "', '","').replace("\\x", "\\u00") + "]")
    if not any(special in text for special in ('" | "', "\\x") for text in texts):
        assert back == texts


def test_images_may_lie_at_an_address():
    part = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
    assert part_of(part) == Remote("https://x.example/a.png", "image", "messages[0].content[0].image_url.url")
    assert param_of(decode_chat, CHAT, {"messages": [{"role": "user", "content": [part] * 33}]}) == "messages"


@pytest.mark.parametrize("kind", ["text/plain", "text/markdown", "text/csv", "application/json"])
def test_text_files_are_part_of_the_text(kind):
    file = {"file_data": data("Grüße", kind), "filename": "../../a\n.txt"}
    assert part_of({"type": "file", "file": file}) == Text("File ../../a.txt:\nGrüße\n")
    bare = {"file_data": base64.b64encode(b"\xef\xbb\xbfhi").decode()}
    assert part_of({"type": "file", "file": bare}) == Text("File without a name:\nhi\n")


@pytest.mark.parametrize(
    "file_data, error",
    [
        (data(b"%PDF-1.7", "application/pdf"), Unsupported),
        (data(b"%PDF-1.7"), Unsupported),
        (data(b"\xff\xfe"), Unsupported),
        (data(b"a\0b"), Unsupported),
        ("data:text/plain,hello", BadRequest),
        ("data:text/plain;base64", BadRequest),
        ("!!!", BadRequest),
        ("A" * (textfiles.MAX_BYTES * 4 // 3 + 8), BodyTooLarge),
    ],
)
def test_files_that_are_no_text_are_refused_by_name(file_data, error):
    sent = {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": file_data}}]}]}
    with pytest.raises(BadRequest) as caught:
        decode_chat(body(CHAT, sent))
    assert type(caught.value) is error
    assert caught.value.param == "messages[0].content[0].file.file_data"


def test_too_long_texts_are_refused():
    with pytest.raises(BodyTooLarge):
        textfiles.from_bytes(b"x" * (textfiles.MAX_BYTES + 1), "a", "p")


def test_uploaded_files_are_named_by_their_ids():
    part = part_of({"type": "file", "file": {"file_id": "file-1"}})
    assert isinstance(part, Remote)
    assert (kept_id(part), part.param) == ("file-1", "messages[0].content[0].file.file_id")
    assert kept_id(Remote("https://x.example/", "text")) is None
    both = {"type": "file", "file": {"file_id": "file-1", "file_data": data("x")}}
    sent = {"messages": [{"role": "user", "content": [both]}]}
    assert param_of(decode_chat, CHAT, sent) == "messages[0].content[0].file.file_data"


def test_a_stored_chat_remembers_what_was_asked():
    sent = {
        "store": True,
        "metadata": {"a": "b"},
        "seed": 7,
        "user": "ann",
        "messages": [HI, {"role": "user", "content": [{"type": "text", "text": "see"}]}],
    }
    decoded = decode_chat(body(CHAT, sent))
    assert isinstance(decoded, StoredChat)
    assert (decoded.told["seed"], decoded.told["input_user"], decoded.told["top_p"]) == (7, "ann", 1.0)
    assert decoded.messages == (
        {"role": "user", "content": "hi", "name": None, "content_parts": None},
        {"role": "user", "content": "see", "name": None, "content_parts": [{"type": "text", "text": "see"}]},
    )
    assert "metadata" not in decoded.noted
    assert decoded.whole.head.id == decoded.encoder.head.id


def test_very_large_images_are_left_out_of_what_is_kept():
    large = {"type": "image_url", "image_url": {"url": "x" * (8 * 2**20 + 1)}}
    small = {"type": "image_url", "image_url": "x"}
    (told,) = input_messages({"messages": [{"role": "user", "content": [large, small]}]})
    assert (told["content"], told["content_parts"]) == (None, [small])


def test_the_kept_answer_has_the_id_of_the_streamed_one():
    decoded = decode_chat(body(CHAT, {"store": True, "stream": True}))
    assert isinstance(decoded, StoredChat)
    assert decoded.whole.head.id.encode() in decoded.encoder._open


def test_metadata_without_storing_is_noted():
    decoded = decode_chat(body(CHAT, {"metadata": {"a": "b"}}))
    assert not isinstance(decoded, StoredChat)
    assert decoded.noted == ("metadata",)


def test_the_mode_of_a_completion_may_be_of_no_tokens():
    request = decode_completions(body(TEXT, {"max_tokens": 0, "echo": True, "best_of": 3})).request
    assert (request.sampling.max_tokens, request.best_of) == (0, 3)
    assert decode_completions(body(TEXT, {"n": 2, "best_of": 2})).request.best_of is None


@pytest.mark.parametrize(
    "query, want",
    [
        ("", (20, False, None, None)),
        ("limit=7&order=asc&after=a&before=b", (7, True, "a", "b")),
        ("after=&before=", (20, False, None, None)),
    ],
)
def test_list_queries(query, want):
    asked = read_query(query.encode())
    assert (asked.limit, asked.ascending, asked.after, asked.before) == want


def test_list_queries_have_fields_and_metadata():
    asked = read_query(b"model=m&metadata%5Ba%5D=1&metadata[b]=%C3%BC", ascending=True)
    assert (asked.fields, asked.metadata, asked.ascending) == ({"model": "m"}, {"a": "1", "b": "ü"}, True)


@pytest.mark.parametrize(
    "query, param",
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("limit=1.5", "limit"),
        ("order=up", "order"),
        ("a=%ff", None),
        ("&".join("a=1" for _ in range(100)), None),
    ],
)
def test_bad_list_queries_are_named(query, param):
    with pytest.raises(BadRequest) as caught:
        read_query(query.encode())
    assert caught.value.param == param


def test_lists_tell_their_ends():
    assert json.loads(render_list([{"id": "a"}, {"id": "b"}], True)) == {
        "object": "list",
        "data": [{"id": "a"}, {"id": "b"}],
        "first_id": "a",
        "last_id": "b",
        "has_more": True,
    }
    assert json.loads(render_list([], False))["first_id"] is None


def test_the_fields_of_an_upload():
    assert check_purpose("batch") == "batch"
    assert check_lifetime(None, None) is None
    assert check_lifetime("created_at", "3600") == 3600
    assert check_filename("../x") == "../x"
    facts = {"bytes": 3, "filename": "a", "purpose": "batch"}
    assert file_object("file-1", 5.5, 9.5, facts)["expires_at"] == 9
    assert "expires_at" not in file_object("file-1", 5.5, None, facts)


@pytest.mark.parametrize(
    "check, args, param",
    [
        (check_purpose, (None,), "purpose"),
        (check_purpose, ("fun",), "purpose"),
        (check_lifetime, ("created_at", "3599"), "expires_after.seconds"),
        (check_lifetime, ("created_at", "2592001"), "expires_after.seconds"),
        (check_lifetime, ("created_at", "x"), "expires_after.seconds"),
        (check_lifetime, ("created_at", None), "expires_after.seconds"),
        (check_lifetime, ("last_used", "3600"), "expires_after.anchor"),
        (check_lifetime, (None, "3600"), "expires_after.anchor"),
        (check_filename, (None,), "file"),
        (check_filename, ("x" * 1025,), "file"),
    ],
)
def test_bad_fields_of_an_upload_are_named(check, args, param):
    with pytest.raises(BadRequest) as caught:
        check(*args)
    assert caught.value.param == param


def test_a_message_keeps_its_name():
    assert messages({"role": "assistant", "content": "x", "name": "bo"}) == (
        Message("assistant", (Text("x"),), "bo"),
    )
