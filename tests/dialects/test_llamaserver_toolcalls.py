"""Calls read out of text: what counts as one, what stays text, and how promptly."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.events import Event, TextDelta, TokenLogprob, ToolCallDelta
from inhouse.dialects.llamaserver.forced import ForcedCalls, new_id
from inhouse.dialects.llamaserver.toolcalls import CallScanner, calls_of

NAMES = ("get_weather", "add")
WEATHER = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
ADD = '{"name": "add", "arguments": {"a": 1, "b": [2, "}"]}}'


def run(scanner: CallScanner | ForcedCalls, pieces: list[str]) -> tuple[str, list[tuple[str, str]]]:
    events: list[Event] = [event for piece in pieces for event in scanner.feed(piece)]
    events += scanner.end()
    text = "".join(e.text for e in events if isinstance(e, TextDelta))
    calls: list[list[str]] = []
    for event in events:
        if isinstance(event, ToolCallDelta):
            if event.name is not None:
                assert event.call == len(calls)
                assert event.id
                calls.append([event.name, ""])
            calls[event.call][1] += event.arguments
    return text, [(name, arguments) for name, arguments in calls]


def scan(text: str, *, single: bool = False) -> tuple[str, list[tuple[str, str]]]:
    """The result, the same for the whole text and for every character on its own."""
    whole = run(CallScanner(NAMES, single=single), [text])
    assert run(CallScanner(NAMES, single=single), list(text)) == whole
    return whole


PARIS = ("get_weather", '{"city": "Paris"}')
SUM = ("add", '{"a": 1, "b": [2, "}"]}')


@pytest.mark.parametrize(
    ("text", "calls", "left"),
    [
        (WEATHER, [PARIS], ""),
        (f"\n  {WEATHER}\n", [PARIS], ""),
        (f"```json\n{WEATHER}\n```", [PARIS], ""),
        (f"```\n{WEATHER}\n```\n", [PARIS], ""),
        (f"```json\n{WEATHER}\n{ADD}\n```", [PARIS, SUM], ""),
        (f"```json\n[{WEATHER}, {ADD}]\n```", [PARIS, SUM], ""),
        (f"[{WEATHER},\n {ADD}]", [PARIS, SUM], ""),
        (f"<tool_call>\n{WEATHER}\n</tool_call>", [PARIS], ""),
        (f"<tool_call>\n{WEATHER}\n</tool_call>\n<tool_call>{ADD}</tool_call>", [PARIS, SUM], ""),
        (f"```json\n{WEATHER}\n```\n```json\n{ADD}\n```", [PARIS, SUM], ""),
        (f"Let me look.\n```json\n{WEATHER}\n```", [PARIS], "Let me look.\n"),
        (f"Sure: <tool_call>{WEATHER}</tool_call>", [PARIS], "Sure: "),
        (f"{WEATHER}\nThat is all.", [PARIS], "That is all."),
        ('{"name": "get_weather", "parameters": {"city": "Paris"}}', [PARIS], ""),
        (
            '{"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}',
            [PARIS],
            "",
        ),
        ('{"function": "get_weather", "arguments": {"city": "Paris"}}', [PARIS], ""),
        ('{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}', [PARIS], ""),
        ('{"tool_calls": [' + WEATHER + "]}", [PARIS], ""),
        ('{"arguments": {"city": "Paris"}, "name": "get_weather"}', [PARIS], ""),
        ('{"name": "add"}', [("add", "{}")], ""),
    ],
)
def test_what_models_write_for_a_call_becomes_a_call(
    text: str, calls: list[tuple[str, str]], left: str
) -> None:
    assert scan(text) == (left, calls)


@pytest.mark.parametrize(
    "text",
    [
        "Hello!",
        "",
        "   spaces first",
        '{"name": "unknown", "arguments": {}}',
        '{"city": "Paris"}',
        "[1, 2, 3]",
        '```json\n{"city": "Paris"}\n```\nDone.',
        "```python\nprint({})\n```",
        "```\nplain\n```",
        "a < b and `code` and ``` not a fence",
        "<tool_cal> is no tag",
        "<tool_call> but words",
        '{"name": "get_weather", "arguments": {"city": "Par',
        '{"name": "get_weather", "arguments": {bad}}',
        '{"name": "get_weather", "arguments": [1]}',
        '{"name": "get_weather", "arguments": "not json"}',
        '{"arguments": {"a": 1}}',
        "```json\n",
        "```",
        "line\n``",
        "x <tool",
        "{'name': 'get_weather'}",
    ],
)
def test_what_is_no_call_comes_out_unchanged(text: str) -> None:
    assert scan(text) == (text, [])


def test_only_one_call_where_parallel_calls_are_off() -> None:
    assert scan(f"[{WEATHER}, {ADD}]\n{ADD} and words", single=True) == ("", [PARIS])


@pytest.mark.parametrize(
    ("text", "released"),
    [
        ('{"c', '{"c'),
        ("{'", "{'"),
        ('{"name": "x', '{"name": "x'),
        ("```py", "```py"),
        ("H", "H"),
        ("words <t", "words "),
        ("[1", "[1"),
    ],
)
def test_text_is_released_as_soon_as_it_cannot_be_a_call(text: str, released: str) -> None:
    scanner = CallScanner(NAMES)
    events = [event for char in text for event in scanner.feed(char)]
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == released


@given(
    st.lists(
        st.sampled_from(
            [
                WEATHER,
                ADD,
                "```json\n",
                "\n```",
                "<tool_call>",
                "</tool_call>",
                "\n",
                "words ",
                "{",
                "é🙂",
                ", ",
            ]
        ),
        max_size=8,
    ),
    st.data(),
)
def test_cutting_the_text_elsewhere_changes_nothing(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert run(CallScanner(NAMES), pieces) == run(CallScanner(NAMES), [text])


@given(st.text(alphabet='`{}[]"<>tool_call json\n:name', max_size=60))
def test_no_text_without_a_call_is_ever_lost(text: str) -> None:
    assert run(CallScanner(("zz",)), list(text)) == (text, [])


def test_log_probabilities_follow_the_text_that_is_released() -> None:
    scanner = CallScanner(NAMES)
    first, second = TokenLogprob("{", -1.0, b"{"), TokenLogprob("x", -2.0, b"x")
    assert scanner.feed("{", (first,)) == []
    assert scanner.feed("x", (second,)) == [TextDelta("{", 0, (first, second)), TextDelta("x", 0)]


def test_ids_are_random_and_marked_as_calls() -> None:
    assert new_id() != new_id()
    assert new_id().startswith("call_")


def test_a_value_that_is_not_an_object_is_no_call() -> None:
    assert calls_of([1], NAMES) is None
    assert calls_of([], NAMES) is None


FORCED = '{"name": "add", "arguments": {"a": "x\\"}{", "b": {"c": [1]}}}'


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (FORCED, [("add", '{"a": "x\\"}{", "b": {"c": [1]}}')]),
        ('{ "name" : "a\\"b" ,\n "arguments" : { } }', [('a"b', "{ }")]),
        (f"[{FORCED}, {WEATHER}]", [("add", '{"a": "x\\"}{", "b": {"c": [1]}}'), PARIS]),
        ('{"name": "add", "arguments": {"a": 1', [("add", '{"a": 1')]),
    ],
)
def test_forced_calls_are_read_however_they_are_cut(text: str, calls: list[tuple[str, str]]) -> None:
    assert run(ForcedCalls(), [text]) == ("", calls)
    assert run(ForcedCalls(), list(text)) == ("", calls)


def test_what_an_engine_writes_without_its_grammar_breaks_nothing() -> None:
    assert ForcedCalls().feed('{"x": {"a": 1}}') == []
    (head, arguments) = ForcedCalls().feed('{"name": "a\\x", "arguments": {}}')
    assert isinstance(head, ToolCallDelta)
    assert isinstance(arguments, ToolCallDelta)
    assert (head.name, arguments.arguments) == ("a\\x", "{}")


def test_forced_arguments_stream_before_the_call_is_complete() -> None:
    calls = ForcedCalls(make_id=lambda: "call_1", index=2)
    assert calls.feed('{"name": "add", "argu') == [ToolCallDelta(0, "", "call_1", "add", 2)]
    assert calls.feed('ments": {"a"') == [ToolCallDelta(0, '{"a"', index=2)]
    assert calls.feed(": 1}") == [ToolCallDelta(0, ": 1}", index=2)]
    assert calls.feed("}") == []
    assert calls.end() == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
        max_leaves=8,
    ),
    st.data(),
)
def test_forced_arguments_survive_any_json(value: object, data: st.DataObject) -> None:
    arguments = json.dumps({"v": value}, ensure_ascii=data.draw(st.booleans()))
    text = f'{{"name": "add", "arguments": {arguments}}}'
    cut = data.draw(st.integers(0, len(text)))
    assert run(ForcedCalls(), [text[:cut], text[cut:]]) == ("", [("add", arguments)])


def meant(name: str, arguments: str) -> str | None:
    """What takes a city is the weather, however it is called."""
    return "get_weather" if name not in NAMES and set(json.loads(arguments)) == {"city"} else None


MISNAMED = '{"name": "Paris \\"weather\\"", "arguments": {"city": "Paris"}}'


@pytest.mark.parametrize(
    ("text", "before"),
    [
        (MISNAMED, ""),
        (f"```json\n{MISNAMED}\n```", ""),
        (f"Sure.\n<tool_call>{MISNAMED}", "Sure.\n"),
        ('{\n "name" : "x",\n "parameters" : {"city": "Rome"}}', ""),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_call_under_a_wrong_name_is_held_to_be_made_again(text: str, before: str, whole: bool) -> None:
    scanner = CallScanner(NAMES, check=meant)
    assert run(scanner, [text] if whole else list(text)) == (before, [])
    assert scanner.refused is not None
    name, length = scanner.refused
    assert name == "get_weather"
    if not whole:
        assert text.replace("\n```", "")[-length:].startswith("{")


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Rex", "age": 4}',
        '{"name": "Rex", "arguments": "none"}',
        '{"name": "Rex", "arguments": {"legs": 4}}',
        '{"name": "Rex", "arguments": {"city": "Rome"}, "age": 4}',
        '{"name": "Rex", "home": {"arguments": {"city": "Rome"}}}',
        '{"arguments": {"city": "Rome"}, "age": 4}',
        '[{"name": "Rex", "arguments": {"city": "Rome"}}]',
        '{"dog": {"name": "Rex", "arguments": {"city": "Rome"}}}',
        f'{{"name": "{"R" * 70}", "arguments": {{"city": "Rome"}}}}',
        '{"name": "Rex", "arguments": {"city": "Rome"',
    ],
)
def test_other_objects_with_a_name_stay_text(text: str) -> None:
    for pieces in ([text], list(text), [f"```json\n{text}\n```"]):
        scanner = CallScanner(NAMES, check=meant)
        assert run(scanner, pieces) == ("".join(pieces), [])
        assert scanner.refused is None


def test_an_object_with_a_name_comes_out_as_soon_as_it_is_seen_to_be_no_call() -> None:
    scanner = CallScanner(NAMES, check=meant)
    assert scanner.feed('{"name": "Rex", "a') == []
    said = [event.text for event in scanner.feed("ge") if isinstance(event, TextDelta)]
    assert "".join(said) == '{"name": "Rex", "age'
