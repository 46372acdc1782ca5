"""Measuring: the texts, one watched request, rounds in turns, figures that can be kept."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

from inhouse.core.errors import BadRequest, EngineError, QueueFull
from inhouse.core.events import ChoiceEnd, Event, Finished, ReasoningDelta, Started, TextDelta
from inhouse.core.requests import Chat, Complete, Request
from inhouse.core.usage import Timings, Usage
from inhouse.measure import (
    Figures,
    Level,
    Plan,
    Round,
    Sample,
    Spread,
    Subject,
    compare,
    fold,
    measure,
    ratio,
    rounds,
    sample,
)
from inhouse.measure.texts import request


def text_of(asked: Request) -> str:
    if isinstance(asked, Chat):
        return asked.messages[0].text
    assert isinstance(asked, Complete)
    assert isinstance(asked.prompts[0], str)
    return asked.prompts[0]


class Steady:
    """An engine whose every token takes ``each`` seconds of a clock that only it turns."""

    def __init__(self, *, tokens: int = 5, prefill: float = 2.0, each: float = 0.5, cached: int = 0) -> None:
        self.now = 0.0
        self.asked: list[str] = []
        self.tokens, self.prefill, self.each, self.cached = tokens, prefill, each, cached

    def clock(self) -> float:
        return self.now

    async def run(self, request: Request) -> AsyncGenerator[Event, None]:
        self.asked.append(text_of(request))
        yield Started(load=0.0, queue=0.0)
        self.now += self.prefill
        for _ in range(self.tokens):
            yield TextDelta("word ")
            self.now += self.each
        yield ChoiceEnd("length")
        prompt = len(self.asked[-1].split())
        usage = Usage(prompt, self.tokens, self.cached, drafted_tokens=4, accepted_tokens=3)
        yield Finished(usage, Timings(prefill=self.prefill, decode=self.each * self.tokens))


class TestPlan:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"prompt": 0},
            {"answer": 0},
            {"rounds": 0},
            {"clients": ()},
            {"clients": (1, 0)},
            {"clients": (257,)},
            {"prompt": True},
            {"task": "other"},
            {"temperature": 3.0},
        ],
    )
    def test_refuses_numbers_without_sense(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(BadRequest) as error:
            Plan(**wrong)
        assert error.value.param

    def test_counts_its_requests(self) -> None:
        assert Plan(clients=(1, 2, 4), rounds=3).requests == 21

    def test_two_plans_ask_different_texts(self) -> None:
        one, other = (text_of(request(Plan(), "m", 1)) for _ in range(2))
        assert one[:30] != other[:30]


class TestTexts:
    def test_the_same_seed_asks_the_same(self) -> None:
        plan = Plan(seed=7)
        assert request(plan, "m", 3) == request(Plan(seed=7), "m", 3)

    @pytest.mark.parametrize("task", ["text", "copy"])
    @pytest.mark.parametrize("chat", [False, True])
    def test_no_two_prompts_begin_alike(self, task: Any, chat: bool) -> None:
        plan = Plan(seed=7, task=task, chat=chat)
        beginnings = {text_of(request(plan, "m", number))[-4000:][:400] for number in range(50)}
        assert len(beginnings) == 50

    def test_shared_prompts_begin_alike_and_end_differently(self) -> None:
        plan = Plan(seed=7, shared=True, prompt=400)
        one, other = (text_of(request(plan, "m", number)) for number in (1, 2))
        same = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
        assert same > 0.8 * len(one)

    @pytest.mark.parametrize("prompt", [50, 300, 2000])
    def test_a_text_is_about_as_long_as_asked(self, prompt: int) -> None:
        words = len(text_of(request(Plan(seed=7, prompt=prompt), "m", 1, per_unit=2.0)).split())
        assert words == pytest.approx(prompt / 2, abs=6)

    def test_a_copy_task_names_a_function_that_is_in_the_file(self) -> None:
        text = text_of(request(Plan(seed=7, task="copy", chat=True), "m", 1))
        old = text.split("rename the function ", 1)[1].split(" ", 1)[0]
        assert f"def {old}(value):" in text

    def test_a_longer_copy_task_has_more_functions(self) -> None:
        short, long = (text_of(request(Plan(seed=7, task="copy", prompt=n), "m", 1)) for n in (100, 1000))
        assert long.count("def ") > 5 * short.count("def ")

    def test_what_is_asked_is_as_planned(self) -> None:
        asked = request(Plan(chat=True, answer=9, temperature=0.5), "m", 1)
        assert isinstance(asked, Chat)
        assert asked.model == "m"
        assert asked.sampling.max_tokens == 9
        assert asked.sampling.temperature == 0.5


class TestSample:
    async def test_watches_one_answer(self) -> None:
        engine = Steady()
        seen = await sample(engine.run, request(Plan(), "m", 1), engine.clock)
        assert (seen.ttft, seen.last, seen.seconds) == (2.0, 4.0, 4.5)
        assert seen.gaps == (0.5,) * 4
        assert seen.decode_rate == 2.0
        assert seen.prefill_rate == seen.prompt_tokens / 2.0
        assert (seen.drafted_tokens, seen.accepted_tokens) == (4, 3)

    async def test_waiting_for_a_slot_or_a_load_is_not_the_engines_time(self) -> None:
        now = iter([0.0, 10.0, 11.0, 11.5])

        async def run(_: Request) -> AsyncGenerator[Event, None]:
            yield Started(load=7.0, queue=2.0)
            yield TextDelta("a")
            yield ReasoningDelta("b")
            yield Finished(Usage(8, 2), Timings())

        seen = await sample(run, request(Plan(), "m", 1), lambda: next(now))
        assert (seen.ttft, seen.last, seen.seconds) == (1.0, 2.0, 2.5)
        assert (seen.load, seen.queue) == (7.0, 2.0)
        assert seen.prefill_rate == 8.0  # by the time to the first token: this engine does not tell

    async def test_cached_tokens_do_not_count_as_read(self) -> None:
        engine = Steady(cached=10)
        seen = await sample(engine.run, request(Plan(), "m", 1), engine.clock)
        assert seen.prefill_rate == (seen.prompt_tokens - 10) / 2.0

    async def test_an_answer_of_one_token_has_no_rate(self) -> None:
        engine = Steady(tokens=1)
        seen = await sample(engine.run, request(Plan(), "m", 1), engine.clock)
        assert seen.decode_rate == 0

    async def test_an_answer_without_an_end_is_an_error(self) -> None:
        async def run(_: Request) -> AsyncGenerator[Event, None]:
            yield Started()

        with pytest.raises(EngineError):
            await sample(run, request(Plan(), "m", 1))


class TestRounds:
    async def test_every_level_has_its_rounds_and_all_prompts_differ(self) -> None:
        engine = Steady()
        plan = Plan(clients=(1, 3), rounds=2)
        found = await measure(engine.run, "m", plan, about={"engine": "steady"})
        assert [level.clients for level in found.levels] == [1, 3]
        assert [level.requests for level in found.levels] == [2, 6]
        assert len(set(engine.asked)) == len(engine.asked) == 1 + plan.requests
        assert found.about == {"engine": "steady"}

    async def test_without_a_warm_up_only_what_counts_is_sent(self) -> None:
        engine = Steady()
        await measure(engine.run, "m", Plan(rounds=2, warm=False))
        assert len(engine.asked) == 2

    async def test_the_warm_up_tells_how_long_words_are(self) -> None:
        engine = Steady()  # counts one token a word
        await measure(engine.run, "m", Plan(prompt=600, rounds=1))
        assert len(engine.asked[-1].split()) == pytest.approx(600, rel=0.02)

    async def test_subjects_take_turns_and_hear_the_same(self) -> None:
        ours, theirs = Steady(), Steady(each=1.0)
        subjects = {"ours": Subject(ours.run, "m"), "theirs": Subject(theirs.run, "m")}
        order = [(r.subject, r.number) async for r in rounds(subjects, Plan(rounds=2))]
        assert order == [("ours", 1), ("theirs", 1), ("theirs", 2), ("ours", 2)]
        assert ours.asked == theirs.asked

    async def test_clients_send_at_once(self) -> None:
        running = most = 0

        async def run(_: Request) -> AsyncGenerator[Event, None]:
            nonlocal running, most
            running += 1
            most = max(most, running)
            yield Started()
            await asyncio.sleep(0)
            running -= 1
            yield Finished(Usage(1, 1), Timings())

        await measure(run, "m", Plan(clients=(4,), rounds=1))
        assert most == 4

    async def test_a_refusal_comes_out_as_itself(self) -> None:
        async def run(_: Request) -> AsyncGenerator[Event, None]:
            yield Started()
            raise QueueFull("full", hint="Later.")

        with pytest.raises(QueueFull):
            await measure(run, "m", Plan(clients=(2,), warm=False))

    async def test_comparing_gives_figures_of_each(self) -> None:
        ours, theirs = Steady(), Steady(tokens=7)
        subjects = {"ours": Subject(ours.run, "a"), "theirs": Subject(theirs.run, "b")}
        found = await compare(subjects, Plan(rounds=2))
        assert {name: f.levels[0].answer_tokens for name, f in found.items()} == {"ours": 10, "theirs": 14}
        assert [f.model for f in found.values()] == ["a", "b"]


def one_sample(seconds: float, tokens: int = 11) -> Sample:
    return Sample(
        ttft=1.0, seconds=seconds, last=seconds, prompt_tokens=100, answer_tokens=tokens, prefill=0.5
    )


class TestFigures:
    def test_a_level_sums_up_its_rounds(self) -> None:
        level = Level.of(
            2, [(2.0, [one_sample(2.0), one_sample(3.0)]), (4.0, [one_sample(6.0), one_sample(2.0)])]
        )
        assert level.requests == 4
        assert level.decode.median == 7.5
        assert level.prefill.median == 200
        assert level.total.median == pytest.approx((11.0 + 5.5) / 2)
        assert level.answer_tokens == 44

    def test_levels_that_were_not_reached_are_left_out(self) -> None:
        plan = Plan(clients=(1, 2))
        found = fold({"": Subject(Steady().run, "m")}, plan, [Round("", 1, 1, 2.0, (one_sample(2.0),))])[""]
        assert [one.clients for one in found.levels] == [1]
        assert found.level(2) is None
        assert found.level(1) == found.levels[0]

    @pytest.mark.parametrize("values", [[], [3.0], [1.0, 2.0], [5.0, 1.0, 3.0, 2.0, 4.0]])
    def test_a_spread_lies_around_its_median(self, values: list[float]) -> None:
        spread = Spread.of(values)
        assert spread.low <= spread.median <= spread.high
        assert spread.count == len(values)

    def test_a_spread_leaves_out_the_outer_tenths(self) -> None:
        spread = Spread.of([0.0, *[10.0] * 20, 1000.0])
        assert (spread.low, spread.high) == (10.0, 10.0)

    def test_a_ratio_is_taken_round_by_round(self) -> None:
        assert ratio([10, 20, 30, 0], [5, 10, 15, 1]) == Spread(2.0, 2.0, 2.0, 3)

    def test_figures_survive_a_file(self) -> None:
        plan = Plan(clients=(1, 2), seed=5)
        level = Level.of(1, [(2.0, [one_sample(2.0)])])
        before = Figures("m", plan, (level,), {"engine": "x"})
        assert Figures.from_json(json.loads(json.dumps(before.to_json()))) == before

    @pytest.mark.parametrize("wrong", list("abcdefghi"))
    def test_a_file_that_holds_something_else_is_refused(self, wrong: str) -> None:
        level = Level.of(1, [(2.0, [one_sample(2.0)])])
        data = Figures("m", Plan(), (level,), {}).to_json()
        data = json.loads(json.dumps(data))
        changes = dict(zip("abcdefghi", _spoilt(data), strict=True))
        with pytest.raises(BadRequest):
            Figures.from_json(changes[wrong])


def _spoilt(good: dict[str, Any]) -> Iterator[Any]:
    level = good["levels"][0]
    yield None
    yield []
    yield {}
    yield good | {"model": 3}
    yield good | {"plan": {"prompt": -1, "clients": [1]}}
    yield good | {"levels": [level | {"decode": {"median": "fast"}}]}
    yield good | {"levels": [level | {"decode": {"median": float("nan")}}]}
    yield good | {"levels": [level | {"clients": "many"}]}
    yield good | {"levels": [level | {"another": 1}]}


def test_values_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Plan().prompt = 3  # type: ignore[misc]
