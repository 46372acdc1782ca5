"""Text completions on a worker: the best of several, token ids around a gap, what is counted."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from inhouse.core.errors import BadRequest, EngineError, Unsupported
from inhouse.core.events import ChoiceEnd, Event, Finished, Started, TextDelta
from inhouse.core.messages import Format, Grammar, Sampling
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.requests import Complete
from inhouse.upstream import WorkerEngine
from upstream.llama_double import LlamaDouble, event

FIM = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")


def card(**fields: Any) -> Card:
    fields = {"capabilities": frozenset({"completion", "insert"}), "vocabulary": 5000} | fields
    return Card(ModelName.parse("m"), "d", "w", "d", 1, Footprint(1, 1), **fields)


async def run(double: LlamaDouble, request: Complete, of: Card | None = None) -> list[Event]:
    engine = WorkerEngine(of or card(), double.launch())
    try:
        return [one async for one in engine.run(request)]
    finally:
        await engine.close()


def complete(*prompts: Any, **fields: Any) -> Complete:
    return Complete(model="m", prompts=prompts, **fields)


def texts(events: list[Event]) -> dict[int, str]:
    out: dict[int, str] = {}
    for one in events:
        if isinstance(one, TextDelta):
            out[one.index] = out.get(one.index, "") + one.text
    return out


def candidates(double: LlamaDouble, *said: list[tuple[str, float]]) -> None:
    """The worker's choices, one after the other over all its requests: tokens with log-probabilities."""
    left = list(said)

    def script(body: dict[str, Any]) -> list[bytes]:
        out = []
        for index in range(body["n_cmpl"]):
            tokens = left.pop(0)
            for text, logprob in tokens:
                chunk: dict[str, Any] = {"index": index, "content": text, "tokens": [7]}
                if "n_probs" in body:
                    one = {"token": text, "logprob": logprob, "bytes": list(text.encode())}
                    chunk["completion_probabilities"] = [one | {"top_logprobs": [one]}]
                out.append(event(chunk))
            timings = {"prompt_n": body["_used"], "predicted_n": len(tokens)}
            end = {"stop": True, "stop_type": "eos", "tokens_evaluated": body["_used"], "timings": timings}
            out.append(event({"index": index, "content": "", **end}))
        return out

    double.script = script


async def test_the_likeliest_candidates_come_first(double):
    candidates(double, [("bad", -3.0)], [("so", -1.0), ("so", -2.0)], [("good", -0.1)], [("fair", -1.0)])
    events = await run(double, complete("p", n=2, best_of=4))
    assert texts(events) == {0: "good", 1: "fair"}
    assert [one.index for one in events if isinstance(one, ChoiceEnd)] == [0, 1]
    assert isinstance(events[0], Started)
    assert sum(isinstance(one, Started) for one in events) == 1
    assert not any(one.logprobs for one in events if isinstance(one, TextDelta))


async def test_all_candidates_are_counted(double):
    candidates(double, [("a", -3.0)], [("b", -1.0), ("c", -2.0)], [("d", -0.1)])
    end = (await run(double, complete("p q", best_of=3)))[-1]
    assert isinstance(end, Finished)
    assert end.usage.completion_tokens == 4
    assert end.usage.prompt_tokens == 3


async def test_more_candidates_than_slots_are_made_in_rounds_with_seeds_of_their_own(double):
    candidates(double, *([(f"c{i}", -float(i))] for i in range(5)))
    events = await run(double, complete("p", n=1, best_of=5, sampling=Sampling(seed=10)))
    bodies = double.sent("/completion")
    assert [body["n_cmpl"] for body in bodies] == [2, 2, 1]
    assert [body["seed"] for body in bodies] == [10, 12, 14]
    assert texts(events) == {0: "c0"}


async def test_each_prompt_has_its_own_best(double):
    candidates(double, [("a", -2.0)], [("b", -1.0)], [("c", -1.0)], [("d", -2.0)])
    events = await run(double, complete("p", "q", best_of=2))
    assert texts(events) == {0: "b", 1: "c"}


async def test_wanted_log_probabilities_stay_with_the_best(double):
    candidates(double, [("bad", -3.0)], [("good", -0.5)])
    events = await run(double, complete("p", best_of=2, logprobs=1, echo=False))
    (delta,) = (one for one in events if isinstance(one, TextDelta) and one.text)
    assert [one.logprob for one in delta.logprobs] == [-0.5]
    assert len(delta.logprobs[0].top) == 1


async def test_a_candidate_that_says_nothing_is_the_worst(double):
    candidates(double, [], [("bad", -30.0)])
    assert texts(await run(double, complete("p", best_of=2))) == {0: "bad"}


async def test_the_best_is_told_with_its_prompt_when_asked(double):
    candidates(double, [("x", -3.0)], [("y", -0.5)])
    assert texts(await run(double, complete("p ", best_of=2, echo=True))) == {0: "p y"}


async def test_as_many_candidates_as_choices_are_told_as_they_come(double):
    candidates(double, [("a", -2.0)], [("b", -1.0)])
    events = await run(double, complete("p", n=2, best_of=2))
    assert texts(events) == {0: "a", 1: "b"}
    assert "n_probs" not in double.sent("/completion")[0]


async def test_token_ids_stand_before_a_gap_as_they_are(double):
    ids = double.ids("x y", special=False)
    await run(double, complete(tuple(ids), suffix="after"), card(control_tokens=FIM))
    prompt = double.sent("/completion")[0]["prompt"]
    assert double.text(prompt) == "<s> <|fim_prefix|> x y <|fim_suffix|> after <|fim_middle|>"


async def test_token_ids_before_a_gap_of_unknown_marks_become_text(double):
    ids = double.ids("x y", special=False)
    await run(double, complete(tuple(ids), suffix="after"))
    body = double.sent("/infill")[0]
    assert (body["input_prefix"], body["input_suffix"]) == ("x y", "after")


@pytest.mark.parametrize("prompts, param", [((("fine"), (5000,)), "prompt[1]"), (((5000,),), "prompt")])
async def test_an_id_outside_the_vocabulary_is_named_before_anything_runs(double, prompts, param):
    with pytest.raises(BadRequest) as caught:
        await run(double, complete(*prompts))
    assert caught.value.param == param
    assert double.bodies == []


async def test_several_prompts_and_choices_are_counted_together(double):
    candidates(double, *([("t", -1.0), ("u", -1.0)] for _ in range(4)))
    events = await run(double, complete("a b", "c", n=2))
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (3 + 2, 8)
    assert texts(events) == {0: "tu", 1: "tu", 2: "tu", 3: "tu"}


NUMBER = Format("schema", {"type": "integer"})


async def test_an_answer_that_is_not_in_its_format_is_no_answer(double):
    candidates(double, [("so", -1.0)])
    with pytest.raises(EngineError):
        await run(double, complete("p", format=NUMBER))
    assert "json_schema" in double.sent("/completion")[0]


async def test_a_schema_looked_at_afterwards_is_tried_again(double):
    candidates(double, [("so", -1.0)], [("12", -1.0)])
    events = await run(double, complete("p", format=dataclasses.replace(NUMBER, after=True)))
    assert texts(events) == {0: "12"}
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.usage.completion_tokens == 2


async def test_a_grammar_is_the_engines_matter(double):
    candidates(double, [("yes", -1.0)])
    form = Format("grammar", grammar=Grammar("gbnf", 'root ::= "yes"'))
    assert texts(await run(double, complete("p", format=form))) == {0: "yes"}
    assert double.sent("/completion")[0]["grammar"]


async def test_an_answer_in_a_format_does_not_begin_with_its_prompt(double):
    with pytest.raises(Unsupported) as caught:
        await run(double, complete("p", format=NUMBER, echo=True))
    assert caught.value.param == "echo"
