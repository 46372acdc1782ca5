"""The fake engine continues a rendered chat, and says small values where a format is asked for."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from inhouse.engines.workers.fake_raw import raw, sample, turn
from inhouse.engines.workers.fake_script import Script
from inhouse.engines.workers.fake_text import render

MESSAGES = {
    "messages": [{"role": "user", "content": "old"}, {"role": "user", "content": '/fake {"text": "x"}'}]
}


def test_a_rendered_chat_tells_who_spoke_last_and_what_was_answered() -> None:
    prompt, spoken = render(MESSAGES)
    assert turn(prompt) == (spoken, "")
    assert turn(prompt + "so far") == (spoken, "so far")
    assert turn("any other prompt") is None


def test_a_script_goes_on_where_the_prompt_ends() -> None:
    script = Script(text="one two", reasoning="hm")
    whole = raw(script, "", None).text
    assert whole == "<think>\nhm\n</think>\n\none two"
    assert raw(script, "<think>\nhm", None).text == "\n</think>\n\none two"
    assert raw(script, "<think>\nh\n</think>\n\none", None).text == " two"
    assert raw(script, "<think>\nhm\n</think>", {"type": "string"}).text == "one two"
    assert raw(Script(), "", None) == Script()


def test_a_scripted_call_is_written_as_json() -> None:
    script = Script(tool_call={"name": "add", "arguments": {"a": 1}})
    assert raw(script, "", None).text == '{"name": "add", "arguments": {"a": 1}}'
    assert raw(script, '{"name": "add", "arguments":', {}).text == '{"a": 1}'


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}, "required": ["a"]},
        {"$ref": "#/$defs/x", "$defs": {"x": {"type": "string", "minLength": 2}}},
        {"anyOf": [{"const": 4}, {"type": "null"}]},
        {"type": "array", "items": {"enum": ["b"]}, "minItems": 2},
        {"type": ["boolean", "null"]},
        {},
    ],
)
def test_a_format_without_a_script_gets_a_value_of_it(schema: dict[str, Any]) -> None:
    assert jsonschema_rs.is_valid(schema, sample(schema))
    assert raw(Script(), "", schema).text is not None
