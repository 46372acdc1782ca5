"""Answers written over several requests: calls that are committed to, thoughts before a format."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from inhouse.core.errors import BadRequest, ContextExceeded, EngineError, Unsupported
from inhouse.core.events import (
    ChoiceEnd,
    Event,
    Finished,
    Notice,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
)
from inhouse.core.messages import Format, Grammar, Image, Message, Sampling, Text, Tool, ToolChoice
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.requests import Chat, Complete, Request
from inhouse.grammar import check_tools
from inhouse.upstream import WorkerEngine
from upstream.llama_double import LlamaDouble, event

CARD = Card(
    ModelName.parse("m"),
    "0" * 64,
    "w",
    "0" * 64,
    1,
    Footprint(1, 1),
    capabilities=frozenset({"completion", "chat"}),
    vocabulary=5000,
)
THINKER = dataclasses.replace(CARD, capabilities=CARD.capabilities | {"thinking"}, template="<think>")
WEATHER = Tool(
    "get_weather",
    "Weather of a city",
    {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]},
)
ADD = Tool("add", "Add", {"properties": {"a": {"type": "integer"}}, "required": ["a"]})
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
Make = Callable[..., WorkerEngine]


class Recital:
    """What a model would write: each request continues where the prompt ends, up to a stop string, the
    number of tokens asked for, or the end. A token is a word with the space before it."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.written = ""

    def __call__(self, body: dict[str, Any]) -> list[bytes]:
        answer = self.answers.pop(0)
        said, word, kind = answer, "", "eos"
        for stop in body.get("stop", []):
            at = said.find(stop)
            if at >= 0:
                said, word, kind = said[:at], stop, "word"
        pieces = said.replace(" ", "\0 ").split("\0")
        pieces = [piece for piece in pieces if piece]
        most = body["n_predict"]
        if 0 <= most < len(pieces) + (kind == "eos"):
            rest = "".join(pieces[most:]) + answer[len(said) :]
            self.answers.insert(0, rest)
            pieces, word, kind = pieces[:most], "", "limit"
        out = [
            event(
                {"index": 0, "content": piece, "tokens_predicted": i + 1, "tokens_evaluated": body["_used"]}
            )
            for i, piece in enumerate(pieces)
        ]
        count = len(pieces) + (kind != "limit")
        timings = {"cache_n": 1, "prompt_n": body["_used"] - 1, "predicted_n": count, "predicted_ms": 10.0}
        end = {"index": 0, "content": "", "stop": True, "stop_type": kind, "stopping_word": word}
        return [*out, event({**end, "tokens_predicted": count, "timings": timings})]


@pytest.fixture
async def make(double: LlamaDouble) -> AsyncIterator[Make]:
    made: list[WorkerEngine] = []

    def one(card: Card = CARD) -> WorkerEngine:
        made.append(WorkerEngine(card, double.launch()))
        return made[-1]

    yield one
    for engine in made:
        await engine.close()


def chat(**fields: Any) -> Chat:
    return Chat(model="m", messages=(Message("user", (Text("Hi there"),)),), **fields)


async def collect(engine: WorkerEngine, request: Request) -> list[Event]:
    events = [one async for one in engine.run(request)]
    assert isinstance(events[0], Started)
    assert sum(isinstance(one, Started) for one in events) == 1
    assert isinstance(events[-1], Finished)
    return events


def calls(events: list[Event], index: int = 0) -> list[tuple[str, Any]]:
    out: list[tuple[str, list[str]]] = []
    for one in events:
        if isinstance(one, ToolCallDelta) and one.index == index:
            if one.name:
                assert one.id
                assert one.call == len(out)
                out.append((one.name, []))
            out[one.call][1].append(one.arguments)
    return [(name, json.loads("".join(pieces))) for name, pieces in out]


def text(events: list[Event], index: int = 0) -> str:
    return "".join(one.text for one in events if isinstance(one, TextDelta) and one.index == index)


def thoughts(events: list[Event]) -> str:
    return "".join(one.text for one in events if isinstance(one, ReasoningDelta))


def ends(events: list[Event]) -> list[str]:
    return [one.reason for one in events if isinstance(one, ChoiceEnd)]


def used(events: list[Event]) -> tuple[int, int, int]:
    last = events[-1]
    assert isinstance(last, Finished)
    return last.usage.prompt_tokens, last.usage.completion_tokens, last.usage.reasoning_tokens


HEADS = {
    "bare": ('{"name": "get_weather", "arguments": ', "}"),
    "fence": ('```json\n{\n  "name": "get_weather",\n  "arguments": ', "\n}\n```"),
    "tag": ('<tool_call>\n{"name": "get_weather", "arguments": ', "}\n</tool_call>"),
    "list": ('[{"name": "get_weather", "arguments": ', "}]"),
    "wrapped": ('{"type": "function", "function": {"name": "get_weather", "parameters": ', "}}"),
    "after words": ('I will look.\n<tool_call>{"name": "get_weather", "arguments": ', "}</tool_call>"),
}


@pytest.mark.parametrize("shape", HEADS)
async def test_a_call_begun_in_free_text_goes_on_under_the_functions_schema(
    double: LlamaDouble, make: Make, shape: str
) -> None:
    head, tail = HEADS[shape]
    double.script = Recital(head + "{}", '{"city": "Rome"}', tail)
    events = await collect(make(), chat(tools=(ADD, WEATHER)))
    assert calls(events) == [("get_weather", {"city": "Rome"})]
    assert text(events).strip() == ("I will look." if shape == "after words" else "")
    assert ends(events) == ["tool_calls"]
    assert sum(isinstance(one, ToolCallDelta) for one in events) > 2, "arguments come as deltas"
    first, second, third = double.sent("/completion")
    assert "json_schema" not in first
    assert second["json_schema"]["required"] == ["city"]
    assert second["prompt"] == first["prompt"] + head.rstrip()
    assert third["prompt"] == second["prompt"] + '{"city": "Rome"}'


async def test_the_legs_of_an_answer_are_counted_as_one(double: LlamaDouble, make: Make) -> None:
    double.script = Recital(HEADS["bare"][0] + "{}", '{"city": "Rome"}', "}")
    events = await collect(make(), chat(tools=(WEATHER,), sampling=Sampling(max_tokens=50)))
    sent = double.sent("/completion")
    assert [body["n_predict"] for body in sent] == [50, 46, 43]
    prompt = len(double.ids(sent[0]["prompt"], special=True))
    assert used(events) == (prompt, 3 + 1 + 2 + 1 + 1 + 1, 0)


async def test_arguments_that_run_out_of_tokens_end_with_length(double: LlamaDouble, make: Make) -> None:
    double.script = Recital(HEADS["bare"][0] + "{}", '{"city": "Rome"}')
    events = await collect(make(), chat(tools=(WEATHER,), sampling=Sampling(max_tokens=5)))
    assert ends(events) == ["length"]
    assert "".join(one.arguments for one in events if isinstance(one, ToolCallDelta)) == '{"city":'
    assert used(events)[1] == 5


async def test_calls_follow_one_another_until_the_answer_ends(double: LlamaDouble, make: Make) -> None:
    double.script = Recital(
        '[{"name": "get_weather", "arguments": {}',
        '{"city": "Rome"}',
        '}, {"name": "add", "arguments": {}',
        '{"a": 1}',
        "}]",
    )
    events = await collect(make(), chat(tools=(WEATHER, ADD)))
    assert calls(events) == [("get_weather", {"city": "Rome"}), ("add", {"a": 1})]
    assert ends(events) == ["tool_calls"]


async def test_a_function_that_is_called_again_is_not_checked_again(
    double: LlamaDouble, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []

    def look(tools: tuple[Tool, ...], *args: Any, **fields: Any) -> tuple[Tool, ...]:
        checked.extend(tool.name for tool in tools)
        return check_tools(tools, *args, **fields)

    monkeypatch.setattr("inhouse.upstream.calls.check_tools", look)
    head, tail = HEADS["tag"]
    double.script = Recital(head + "{}", '{"city": "Rome"}', f"{tail}{head}{{}}", '{"city": "Paris"}', tail)
    events = await collect(make(), chat(tools=(WEATHER,)))
    assert calls(events) == [("get_weather", {"city": "Rome"}), ("get_weather", {"city": "Paris"})]
    assert checked == ["get_weather"]


async def test_one_call_is_the_end_where_only_one_is_allowed(double: LlamaDouble, make: Make) -> None:
    double.script = Recital(HEADS["bare"][0] + "{}", '{"city": "Rome"}', "never asked for")
    events = await collect(make(), chat(tools=(WEATHER,), parallel_tool_calls=False))
    assert calls(events) == [("get_weather", {"city": "Rome"})]
    assert len(double.sent("/completion")) == 2


async def test_what_a_model_says_after_its_call_is_left_out(double: LlamaDouble, make: Make) -> None:
    double.script = Recital(
        HEADS["fence"][0] + "{}", '{"city": "Rome"}', "\n}\n```\n\nThis calls the function."
    )
    events = await collect(make(), chat(tools=(WEATHER,)))
    assert text(events) == ""
    assert ends(events) == ["tool_calls"]


async def test_the_word_arguments_in_an_answer_is_but_a_word(double: LlamaDouble, make: Make) -> None:
    double.script = Recital('JSON-RPC has "arguments": and', " more text.")
    events = await collect(make(), chat(tools=(WEATHER,)))
    assert text(events) == 'JSON-RPC has "arguments": more text.'
    assert ends(events) == ["stop"]
    first, second = double.sent("/completion")
    assert second["prompt"] == first["prompt"] + 'JSON-RPC has "arguments":'


async def test_a_call_of_a_function_that_is_not_declared_stays_text(double: LlamaDouble, make: Make) -> None:
    double.script = Recital('{"name": "rm", "arguments": ', ' {"x": 1}}')
    events = await collect(make(), chat(tools=(WEATHER,)))
    assert calls(events) == []
    assert text(events) == '{"name": "rm", "arguments": {"x": 1}}'


@pytest.mark.parametrize(
    "written",
    [
        '{"arguments": {"city": "Atlantis"}, "name": "get_weather"}',
        '{"name": "get_weather"}',
        '{"name": "get_weather", "arguments" : {"city": 3}}',
    ],
)
async def test_a_whole_call_with_bad_arguments_is_made_again_under_the_schema(
    double: LlamaDouble, make: Make, written: str
) -> None:
    head, arguments, rest = written.partition('"arguments":')
    texts = [head + arguments, rest] if arguments else [written]
    double.script = Recital("Well. <tool_call>" + texts[0], *texts[1:], '{"city": "Paris"}', "}</tool_call>")
    events = await collect(make(), chat(tools=(WEATHER,)))
    assert calls(events) == [("get_weather", {"city": "Paris"})]
    assert text(events) == "Well. "
    again = double.sent("/completion")[-2]
    assert again["prompt"].endswith('Well. <tool_call>{"name": "get_weather", "arguments":')
    assert again["json_schema"]["required"] == ["city"]


async def test_a_call_under_a_wrong_name_is_made_again_under_the_one_that_takes_its_arguments(
    double: LlamaDouble, make: Make
) -> None:
    double.script = Recital(
        '```json\n{"name": "Paris", "arguments":', ' {"city": "P"}}', '{"city": "Paris"}', "}"
    )
    events = await collect(make(), chat(tools=(WEATHER, ADD)))
    assert calls(events) == [("get_weather", {"city": "Paris"})]
    assert text(events) == ""
    again = double.sent("/completion")[-2]
    assert again["prompt"].endswith('```json\n{"name": "get_weather", "arguments":')
    assert again["json_schema"]["required"] == ["city"]


@pytest.mark.parametrize(
    ("tools", "written"),
    [
        ((WEATHER,), '{"name": "Rex", "arguments": {"legs": 4}}'),
        ((WEATHER,), '{"name": "Rex", "arguments": {}}'),
        ((WEATHER, dataclasses.replace(WEATHER, name="w")), '{"name": "Rex", "arguments": {"city": "Rome"}}'),
        ((Tool("any", parameters={"type": "object"}),), '{"name": "Rex", "arguments": {"legs": 4}}'),
    ],
)
async def test_what_is_no_call_of_any_one_function_stays_text(
    double: LlamaDouble, make: Make, tools: tuple[Tool, ...], written: str
) -> None:
    head, word, rest = written.partition('"arguments":')
    double.script = Recital(head + word, rest)
    events = await collect(make(), chat(tools=tools))
    assert calls(events) == []
    assert text(events) == written


async def test_a_whole_call_with_good_arguments_is_taken_as_it_is(double: LlamaDouble, make: Make) -> None:
    double.script = Recital('{"arguments":', ' {"city": "Rome"}, "name": "get_weather"}')
    events = await collect(make(), chat(tools=(WEATHER,)))
    assert calls(events) == [("get_weather", {"city": "Rome"})]
    assert len(double.sent("/completion")) == 2


async def test_a_stop_string_ends_text_but_not_arguments(double: LlamaDouble, make: Make) -> None:
    double.script = Recital("one two STOP three")
    events = await collect(make(), chat(tools=(WEATHER,), sampling=Sampling(stop=("STOP",))))
    assert text(events) == "one two "
    assert [one.stop for one in events if isinstance(one, ChoiceEnd)] == ["STOP"]
    double.script = Recital(HEADS["bare"][0] + "{}", '{"city": "Rome"}', "}")
    events = await collect(make(), chat(tools=(WEATHER,), sampling=Sampling(stop=("city",))))
    assert calls(events) == [("get_weather", {"city": "Rome"})]


async def test_choices_are_made_one_after_the_other_with_seeds_of_their_own(
    double: LlamaDouble, make: Make
) -> None:
    double.script = Recital("first", HEADS["bare"][0] + "{}", '{"city": "Rome"}', "}")
    events = await collect(make(), chat(tools=(WEATHER,), n=2, sampling=Sampling(seed=5)))
    assert (text(events, 0), calls(events, 1)) == ("first", [("get_weather", {"city": "Rome"})])
    assert ends(events) == ["stop", "tool_calls"]
    assert [body["seed"] for body in double.sent("/completion")] == [5, 6, 6, 6]


async def test_a_tool_whose_schema_is_none_is_refused_by_name(double: LlamaDouble, make: Make) -> None:
    bad = Tool("bad", "", {"type": "object", "properties": {"a": {"type": "nonsense"}}})
    with pytest.raises(BadRequest) as caught:
        await collect(make(), chat(tools=(WEATHER, bad)))
    assert caught.value.param is not None
    assert caught.value.param.startswith("tools[1]")


async def test_an_answer_that_fills_the_context_between_two_legs_ends_with_length(
    double: LlamaDouble, make: Make
) -> None:
    double.context = 12
    double.template = lambda messages: "a b c d e f"
    double.script = Recital("g h i j k l m " + HEADS["bare"][0])
    events = await collect(make(), chat(tools=(WEATHER,)))
    assert ends(events) == ["length"]


# formats


async def test_a_format_is_asked_of_the_raw_prompt_with_all_of_its_schema(
    double: LlamaDouble, make: Make
) -> None:
    double.script = Recital('{"n": 1}')
    events = await collect(make(), chat(format=Format("schema", SCHEMA)))
    assert text(events) == '{"n": 1}'
    (body,) = double.sent("/completion")
    assert body["json_schema"]["required"] == ["n"]
    assert double.sent("/v1/chat/completions") == []


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [
        (Format("schema", SCHEMA), '{"n": "one"}'),
        (Format("schema", SCHEMA), '{"n": 1'),
        (Format("json"), "[1]"),
        (Format("json"), ""),
    ],
)
async def test_an_answer_that_breaks_its_format_never_ends_like_a_good_one(
    double: LlamaDouble, make: Make, wanted: Format, answer: str
) -> None:
    double.script = Recital(answer)
    with pytest.raises(EngineError, match="schema"):
        await collect(make(), chat(format=wanted))


async def test_an_answer_cut_off_by_its_length_is_not_held_against_its_format(
    double: LlamaDouble, make: Make
) -> None:
    double.script = Recital('{"n": 1}')
    events = await collect(make(), chat(format=Format("schema", SCHEMA), sampling=Sampling(max_tokens=1)))
    assert ends(events) == ["length"]


async def test_a_schema_looked_at_afterwards_is_tried_a_few_times(double: LlamaDouble, make: Make) -> None:
    wanted = Format("schema", {"type": "object", "propertyNames": {"not": {"const": "a"}}}, after=True)
    double.script = Recital('{"a": 1}', '{"a": 2}', '{"b": 3}')
    events = await collect(make(), chat(format=wanted, sampling=Sampling(seed=1, temperature=0)))
    assert text(events) == '{"b": 3}'
    assert ends(events) == ["stop"]
    sent = double.sent("/completion")
    assert len({body["seed"] for body in sent}) == 3
    assert [body["temperature"] > 0 for body in sent] == [False, True, True]
    assert used(events)[1] == 9, "all attempts are counted"


async def test_a_schema_that_no_attempt_satisfies_is_the_engines_failure(
    double: LlamaDouble, make: Make
) -> None:
    wanted = Format("schema", {"type": "object", "propertyNames": {"not": {"const": "a"}}}, after=True)
    double.script = Recital(*['{"a": 1}'] * 3)
    with pytest.raises(EngineError) as caught:
        await collect(make(), chat(format=wanted))
    assert "prompt" in caught.value.hint


async def test_a_grammar_goes_to_the_engine_in_its_own_notation(double: LlamaDouble, make: Make) -> None:
    double.script = Recital("red", "red")
    await collect(make(), chat(format=Format("grammar", grammar=Grammar("regex", "red|blue"))))
    await collect(make(), chat(format=Format("grammar", grammar=Grammar("gbnf", 'root ::= "red"'))))
    lark, gbnf = double.sent("/completion")
    assert lark["grammar"].startswith("%llguidance")
    assert "/red|blue/" in lark["grammar"].replace("(?:", "").replace(")", "")
    assert gbnf["grammar"] == 'root ::= "red"'


async def test_a_grammar_and_tools_that_may_be_called_exclude_each_other(make: Make) -> None:
    wanted = Format("grammar", grammar=Grammar("regex", "a"), param="guided_regex")
    with pytest.raises(Unsupported) as caught:
        await collect(make(), chat(format=wanted, tools=(WEATHER,)))
    assert caught.value.param == "guided_regex"


# thinking


@pytest.mark.parametrize("opened", [True, False])
async def test_thoughts_come_before_a_format_and_obey_none(
    double: LlamaDouble, make: Make, opened: bool
) -> None:
    double.template = lambda messages: "prompt <think>\n" if opened else "prompt"
    double.script = Recital(("" if opened else "<think>\n") + "let me see</think> x", '{"n": 1}')
    events = await collect(make(THINKER), chat(format=Format("schema", SCHEMA)))
    assert (thoughts(events), text(events)) == ("let me see", '{"n": 1}')
    *before, last = double.sent("/completion")
    assert all("json_schema" not in body for body in before)
    assert last["json_schema"]["required"] == ["n"]
    assert last["prompt"].endswith("let me see</think>")
    assert used(events)[2] == 3


async def test_a_model_that_does_not_think_answers_under_the_format_from_the_start(
    double: LlamaDouble, make: Make
) -> None:
    recital = Recital("Sure, here is it:")
    asked: list[dict[str, Any]] = []

    def script(body: dict[str, Any]) -> list[bytes]:
        asked.append(body)
        return (Recital('{"n": 1}') if "json_schema" in body else recital)(body)

    double.script = script
    events = await collect(
        make(THINKER), chat(format=Format("schema", SCHEMA), sampling=Sampling(max_tokens=9))
    )
    assert (thoughts(events), text(events)) == ("", '{"n": 1}')
    assert asked[0]["prompt"] == asked[1]["prompt"]
    assert asked[1]["n_predict"] == 9
    assert used(events)[1] == 3, "what was taken back is not counted"


async def test_thinking_ends_at_its_budget(double: LlamaDouble, make: Make) -> None:
    double.template = lambda messages: "prompt <think>\n"
    recital = Recital(" one two three four five six")

    def script(body: dict[str, Any]) -> list[bytes]:
        return (Recital('{"n": 1}') if "json_schema" in body else recital)(body)

    double.script = script
    events = await collect(make(THINKER), chat(format=Format("schema", SCHEMA), think_budget=4))
    assert (thoughts(events), text(events)) == ("one two three four", '{"n": 1}')
    assert double.sent("/completion")[1]["prompt"].endswith("one two three four\n</think>\n\n")
    assert used(events)[2] == 4


async def test_a_thought_that_was_cut_short_leaves_no_tag_in_the_answer(
    double: LlamaDouble, make: Make
) -> None:
    double.template = lambda messages: "prompt <think>\n"
    double.script = Recital(" one two three so four.</think> It is four.")
    request = chat(think_budget=3, tools=(WEATHER,))
    events = await collect(make(THINKER), request)
    assert (thoughts(events), text(events)) == ("one two three", "so four. It is four.")


async def test_a_stop_string_among_the_first_words_ends_the_answer(double: LlamaDouble, make: Make) -> None:
    def script(body: dict[str, Any]) -> list[bytes]:
        return Recital("one two three four five six")(body)

    double.script = script
    stopped = chat(think=False, tools=(WEATHER,), sampling=Sampling(stop=("two",), max_tokens=50))
    events = await collect(make(THINKER), stopped)
    assert text(events) == "one "
    assert [one.stop for one in events if isinstance(one, ChoiceEnd)] == ["two"]


async def test_a_thought_that_runs_out_of_tokens_leaves_no_content(double: LlamaDouble, make: Make) -> None:
    double.template = lambda messages: "prompt <think>\n"
    double.script = Recital(" one two three</think>{}")
    events = await collect(
        make(THINKER), chat(format=Format("schema", SCHEMA), sampling=Sampling(max_tokens=2))
    )
    assert (thoughts(events), text(events), ends(events)) == ("one two", "", ["length"])


async def test_thoughts_that_are_not_wanted_are_closed_before_they_begin(
    double: LlamaDouble, make: Make
) -> None:
    double.template = lambda messages: "prompt <think>\n"
    double.script = Recital('{"n": 1}')
    events = await collect(make(THINKER), chat(format=Format("schema", SCHEMA), think=False))
    assert (thoughts(events), text(events)) == ("", '{"n": 1}')
    assert double.sent("/completion")[0]["prompt"] == "prompt <think>\n\n</think>\n\n"


async def test_a_call_after_a_thought_is_still_a_call(double: LlamaDouble, make: Make) -> None:
    double.script = Recital(
        '<think> I use "arguments": of it </think>',
        "\n\n" + HEADS["tag"][0] + "{}",
        '{"city": "Rome"}',
        HEADS["tag"][1],
    )
    events = await collect(make(THINKER), chat(tools=(WEATHER,)))
    assert thoughts(events) == 'I use "arguments": of it'
    assert calls(events) == [("get_weather", {"city": "Rome"})]
    assert text(events) == ""
    assert used(events)[2] == 6


async def test_no_thought_leaks_into_the_content_of_an_ordinary_chat(double: LlamaDouble, make: Make) -> None:
    def script(body: dict[str, Any]) -> list[bytes]:
        pieces = ["<th", "ink>", "hm", "\n</", "think>", "\n", "\nyes", " <think>"]
        out = [event({"choices": [{"index": 0, "delta": {"content": piece}}]}) for piece in pieces]
        out.append(event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        return [*out, b"data: [DONE]\n\n"]

    double.script = script
    events = await collect(make(), chat())
    assert (thoughts(events), text(events)) == ("hm", "yes <think>")
    quiet = await collect(make(THINKER), chat(think=False))
    assert (thoughts(quiet), text(quiet)) == ("", "yes <think>")
    assert double.sent("/v1/chat/completions")[-1]["reasoning_budget_tokens"] == 0


async def test_a_budget_of_an_ordinary_chat_is_the_engines(double: LlamaDouble, make: Make) -> None:
    await collect(make(THINKER), chat(think_budget=7, template_args={"date": "today"}, think=True))
    (body,) = double.sent("/v1/chat/completions")
    assert body["reasoning_budget_tokens"] == 7
    assert body["chat_template_kwargs"] == {"date": "today", "enable_thinking": True}


# prompts


async def test_a_rendered_prompt_is_taken_as_it_is(double: LlamaDouble, make: Make) -> None:
    double.script = Recital("yes")
    double.words += ["given", "prompt"]
    events = await collect(make(), chat(prompt="given prompt"))
    assert text(events) == "yes"
    (body,) = double.sent("/completion")
    assert body["prompt"] == [0, *double.ids("given prompt", special=False)]
    assert double.sent("/apply-template") == []


async def test_a_prompt_that_brings_its_own_beginning_gets_no_second_one(
    double: LlamaDouble, make: Make
) -> None:
    double.script = Recital("yes")
    card = dataclasses.replace(CARD, metadata={"tokenizer.ggml.bos_token_id": 0})
    await collect(make(card), chat(prompt="<s> given"))
    assert double.sent("/completion")[0]["prompt"] == double.ids("<s> given", special=False)


async def test_a_rendered_prompt_that_is_too_long_is_refused(double: LlamaDouble, make: Make) -> None:
    with pytest.raises(ContextExceeded):
        await collect(make(), chat(prompt="word " * 300, truncate=True))


async def test_a_template_must_be_rendered_before_it_comes_here(make: Make) -> None:
    with pytest.raises(Unsupported) as caught:
        await collect(make(), chat(template="{{ messages }}"))
    assert caught.value.param == "template"


async def test_log_probabilities_are_read_from_the_raw_stream(double: LlamaDouble, make: Make) -> None:
    double.script = Recital("a b")
    await collect(make(), chat(logprobs=3, n=1))
    assert double.sent("/completion")[0]["n_probs"] == 3


async def test_images_stand_behind_their_markers(double: LlamaDouble, make: Make) -> None:
    card = dataclasses.replace(CARD, capabilities=CARD.capabilities | {"vision"})
    message = Message("user", (Text("see"), Image(b"\x89PNG", "image/png")))
    double.template = lambda messages: "see <__media__>"
    double.script = Recital('{"n": 1}')
    wanted = Chat(model="m", messages=(message,), format=Format("schema", SCHEMA))
    await collect(make(card), wanted)
    assert double.sent("/completion")[0]["prompt"] == {
        "prompt_string": "see <__media__>",
        "multimodal_data": ["iVBORw=="],
    }
    with pytest.raises(Unsupported):
        await collect(make(card), dataclasses.replace(wanted, context=(1, 2)))


async def test_a_forced_call_may_follow_a_thought(double: LlamaDouble, make: Make) -> None:
    double.template = lambda messages: "prompt <think>\n"
    double.script = Recital("hm </think>", '{"name": "get_weather", "arguments": {"city": "Rome"}}')
    events = await collect(make(THINKER), chat(tools=(WEATHER,), tool_choice=ToolChoice("required")))
    assert (thoughts(events), calls(events)) == ("hm", [("get_weather", {"city": "Rome"})])


async def test_arguments_that_the_engine_read_itself_are_looked_at(double: LlamaDouble, make: Make) -> None:
    def script(body: dict[str, Any]) -> list[bytes]:
        function = {"name": "get_weather", "arguments": '{"city": "Atlantis"}'}
        delta = {"tool_calls": [{"index": 0, "id": "c", "function": function}]}
        out = [event({"choices": [{"index": 0, "delta": delta}]})]
        out.append(event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}))
        return [*out, b"data: [DONE]\n\n"]

    double.script = script
    card = dataclasses.replace(CARD, capabilities=CARD.capabilities | {"tools"}, template="[TOOL_CALLS]")
    events = await collect(make(card), chat(tools=(WEATHER,)))
    assert calls(events) == [("get_weather", {"city": "Atlantis"})]
    notices = [one for one in events if isinstance(one, Notice)]
    assert [one.code for one in notices] == ["tool_arguments_invalid"]


@pytest.mark.parametrize("answer", ["no call", '{"name": "get_weather", "arguments": {"city": "Atlantis"}}'])
async def test_a_forced_call_that_the_engine_did_not_make_is_its_failure(
    double: LlamaDouble, make: Make, answer: str
) -> None:
    double.script = Recital(answer)
    with pytest.raises(EngineError, match="call"):
        await collect(make(), chat(tools=(WEATHER,), tool_choice=ToolChoice("required")))


async def test_a_raw_completion_is_held_to_its_format_too(double: LlamaDouble, make: Make) -> None:
    wanted = Complete(model="m", prompts=("x",), format=Format("schema", SCHEMA))
    double.script = Recital('{"n": 1}')
    assert text(await collect(make(), wanted)) == '{"n": 1}'
    double.script = Recital("{}")
    with pytest.raises(EngineError, match="schema"):
        await collect(make(), wanted)
    loose = dataclasses.replace(wanted, format=Format("schema", SCHEMA, after=True))
    double.script = Recital("{}", '{"n": 2}')
    assert text(await collect(make(), loose)) == '{"n": 2}'


async def test_a_refused_grammar_names_the_field_that_asked_for_it(double: LlamaDouble, make: Make) -> None:
    double.refuse = (400, b'{"error":{"code":400,"message":"Failed to parse grammar","type":"x"}}')
    wanted = Format("grammar", grammar=Grammar("gbnf", "root ::="), param="grammar")
    with pytest.raises(BadRequest) as caught:
        await collect(make(), chat(format=wanted))
    assert caught.value.param == "grammar"
