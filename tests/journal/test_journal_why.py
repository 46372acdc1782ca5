"""Why a request took as long as it did: one rule at a time, and what adds up."""

from __future__ import annotations

from typing import Any

import pytest

from inhouse.core.journal import Record
from inhouse.core.usage import Step, Timings, Usage
from inhouse.journal import Line, Trace, Trouble, Why, explain

NOW = 1_000_000.0


def trace(**more: Any) -> Trace:
    """A request of 2 s: half a second of prefill, a second of decode at 50 tokens/s."""
    facts = {
        "id": "r",
        "at": NOW,
        "model": "m:latest",
        "outcome": "ok",
        "seconds": 1.6,
        "ttft": 0.55,
        "usage": Usage(200, 50),
        "timings": Timings(prefill=0.5, decode=1.0),
    }
    return Trace(**{**facts, **more})


def others(count: int, **more: Any) -> list[Trace]:
    """Earlier requests, one after the other."""
    return [trace(**{"id": f"p{n}", "at": NOW - 1000 + 10 * n, **more}) for n in range(count)]


def said(why: Why) -> str:
    return " | ".join(f"{one.what} -> {one.remedy}" for one in why.findings)


def test_parts_add_up_to_the_whole() -> None:
    steps = (Step("queue", 3.0, "Three came first.", "Raise slots."), Step("load", 1.0))
    why = explain(trace(steps=steps, seconds=6.0, ttft=4.6))
    assert [part.name for part in why.parts] == ["queue", "load", "prefill", "decode", "other"]
    assert sum(part.seconds for part in why.parts) == pytest.approx(6.0)
    assert sum(part.share for part in why.parts) == pytest.approx(1.0)
    assert why.parts[0].cause == "Three came first."
    assert why.parts[0].remedy == "Raise slots."
    assert why.parts[1].cause
    assert "400 tokens/s" in why.parts[2].cause
    assert "50 tokens/s" in why.parts[3].cause


def test_a_quick_request_has_nothing_that_stands_out() -> None:
    why = explain(trace(), others(20))
    assert why.findings == ()
    assert (why.rates.prefill, why.rates.decode, why.together) == (400.0, 50.0, 1.0)
    assert why.usual.decode == 50.0


def test_engine_times_above_the_clock_keep_shares_within_bounds() -> None:
    why = explain(trace(seconds=1.0, timings=Timings(prefill=0.6, decode=2.0)))
    assert all(0 <= part.share <= 1 for part in why.parts)


def test_waiting_names_its_cause_and_remedy() -> None:
    steps = (Step("queue", 0.2), Step("evict", 12.0, "Waited for qwen to be unloaded.", "Raise memory."))
    first = explain(trace(steps=steps, seconds=14.0)).findings[0]
    assert "12.0 s" in first.what
    assert "qwen" in first.what
    assert first.remedy == "Raise memory."


def test_a_step_without_a_remedy_gets_a_general_one() -> None:
    assert "INHOUSE_SLOTS" in said(explain(trace(steps=(Step("queue", 5.0),), seconds=7.0)))
    assert "INHOUSE_MAX_LOADED_MODELS" in said(explain(trace(steps=(Step("evict", 5.0),), seconds=7.0)))
    assert "keep_alive" in said(explain(trace(steps=(Step("load", 5.0),), seconds=7.0)))


def line(at: float, kind: Any, cause: str, **more: Any) -> Line:
    return Line(1, at, Record(kind, more.pop("model", "m:latest"), cause, **more))


def test_a_load_tells_who_unloaded_the_model() -> None:
    lines = [
        line(NOW - 40, "eviction", "Long ago."),
        line(NOW - 12, "eviction", "qwen needed the room.", remedy="Raise INHOUSE_MEMORY."),
        line(NOW - 5, "eviction", "Another's.", model="x:latest"),
        line(NOW - 2, "load", "Loaded."),
    ]
    why = explain(trace(steps=(Step("load", 5.0, "A request asked for it."),), seconds=7.0), (), lines)
    assert "qwen needed the room." in why.parts[0].cause
    assert "unloaded 12.0 s before: qwen needed the room." in why.findings[0].what
    assert why.findings[0].remedy == "Raise INHOUSE_MEMORY."
    assert [one.record.cause for one in why.lines] == ["qwen needed the room."]
    old = [line(NOW - 4000, "eviction", "qwen needed the room.")]
    assert "qwen" not in said(explain(trace(steps=(Step("load", 5.0),), seconds=7.0), (), old))


def test_lines_of_the_request_belong_to_it() -> None:
    lines = [line(NOW, "retry", "Smaller.", request_id="r"), line(NOW, "retry", "Other.", request_id="q")]
    assert [one.record.cause for one in explain(trace(), (), lines).lines] == ["Smaller."]


def test_a_long_prompt_that_was_not_cached() -> None:
    long = {"timings": Timings(prefill=6.0, decode=1.0), "seconds": 7.2}
    why = explain(trace(usage=Usage(6200, 50, 100), **long))
    assert "6,100 of 6,200 prompt tokens were not in the cache" in said(why)
    assert "system prompt" in said(why)
    assert "not in the cache" not in said(explain(trace(usage=Usage(6200, 50, 4000), **long)))
    assert "not in the cache" not in said(explain(trace(usage=Usage(600, 50), **long)))


def test_restored_tokens_are_told() -> None:
    usage = Usage(2000, 50, 1900, restored_tokens=1800)
    assert "1,800 of them had been saved on disk" in explain(trace(usage=usage)).parts[0].cause


def test_slower_than_usual_alone_is_the_machine() -> None:
    why = explain(trace(timings=Timings(prefill=0.5, decode=4.0), seconds=4.6), others(20))
    assert "12.5 tokens/s; 50 are usual" in said(why)
    assert "Other programs" in said(why)
    assert explain(trace(timings=Timings(prefill=0.5, decode=4.0), seconds=4.6), others(3)).findings == ()


def test_slower_than_usual_beside_others_is_company() -> None:
    slow = {"timings": Timings(prefill=0.5, decode=7.0), "seconds": 7.6}
    beside = [trace(id=f"b{n}", **slow) for n in range(3)]
    why = explain(trace(**slow), [*others(20), *beside])
    assert why.together == pytest.approx(4.0, abs=0.3)
    assert "7.1 tokens/s while 4 ran at once; 50 are usual" in said(why)
    assert "INHOUSE_SLOTS" in said(why)


def test_those_of_other_models_and_those_that_only_waited_are_no_company() -> None:
    slow = {"timings": Timings(prefill=0.5, decode=7.0), "seconds": 7.6}
    other = [trace(id="b", model="x:latest", **slow)]
    waiting = [trace(id="w", seconds=7.6, outcome="overloaded", ttft=None, timings=Timings(), usage=Usage())]
    assert explain(trace(**slow), other + waiting).together == 1.0


def test_a_slow_prefill() -> None:
    why = explain(trace(timings=Timings(prefill=3.0, decode=1.0), seconds=4.1), others(20))
    assert "66.7 tokens/s" not in said(why)
    assert "67 tokens/s; 400 are usual" in said(why)


def test_long_answers_and_thoughts() -> None:
    long = {"timings": Timings(prefill=0.5, decode=20.0), "seconds": 20.6}
    assert "1,000 tokens" in said(explain(trace(usage=Usage(200, 1000), **long)))
    assert "max_tokens" in said(explain(trace(usage=Usage(200, 1000), **long)))
    thought = said(explain(trace(usage=Usage(200, 1000, reasoning_tokens=900), **long)))
    assert "900 of 1,000 tokens were thoughts" in thought
    assert "max_tokens" not in thought


def test_guesses_that_do_not_pay() -> None:
    why = explain(trace(usage=Usage(200, 50, drafted_tokens=200, accepted_tokens=20)))
    assert "10% were right" in said(why)
    good = explain(trace(usage=Usage(200, 50, drafted_tokens=200, accepted_tokens=150)))
    assert "guessed" not in said(good)
    assert good.rates.accepted == 0.75


def test_a_pause_and_time_that_went_elsewhere() -> None:
    assert "nothing came for 3.0 s" in said(explain(trace(pause=3.0, seconds=5.0)))
    assert "neither into waiting nor into the engine" in said(explain(trace(seconds=9.0)))


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("queue_full", "queue"),
        ("deadline_exceeded", "queue"),
        ("load_failed", "load"),
        ("crash_loop", "load"),
    ],
)
def test_a_refusal_is_explained_first(code: str, part: str) -> None:
    why = explain(
        trace(
            outcome="overloaded",
            ttft=None,
            timings=Timings(),
            usage=Usage(),
            trouble=Trouble(code, "It was so.", "Do this."),
        )
    )
    assert [one.name for one in why.parts] == [part]
    assert why.parts[0].seconds == 1.6
    assert why.findings[0].what == f"{code}: It was so."
    assert why.findings[0].remedy == "Do this."


def test_a_bad_request_has_one_part_only() -> None:
    bad = trace(
        model="", outcome="refused", ttft=None, timings=Timings(), usage=Usage(), seconds=0.001,
        trouble=Trouble("invalid_request", "No."),
    )  # fmt: skip
    why = explain(bad)
    assert [part.name for part in why.parts] == ["other"]
    assert why.findings[0].what == "invalid_request: No."


def test_an_answer_that_broke_off_is_divided_by_its_first_token() -> None:
    broken = trace(outcome="error", timings=Timings(), usage=Usage(), steps=(Step("queue", 0.3),), ttft=0.7)
    why = explain(broken)
    assert [(p.name, round(p.seconds, 3)) for p in why.parts] == [
        ("queue", 0.3), ("prefill", 0.4), ("decode", 0.9),
    ]  # fmt: skip
    silent = explain(trace(outcome="cancelled", timings=Timings(), usage=Usage(), ttft=None))
    assert [part.name for part in silent.parts] == ["other"]
    assert "written nothing yet" in silent.parts[0].cause


@pytest.mark.parametrize(
    "more",
    [
        {"usage": Usage(200, 200), "timings": Timings(prefill=1.0, decode=4.0)},
        {
            "usage": Usage(200, 200),
            "timings": Timings(prefill=1.0, decode=4.0),
            "steps": (Step("queue", 0.4),),
        },
    ],
)
def test_choices_side_by_side_take_no_more_time_than_there_was(more: dict[str, Any]) -> None:
    why = explain(trace(**more))
    assert sum(part.seconds for part in why.parts) == pytest.approx(1.6)
    assert sum(part.share for part in why.parts) == pytest.approx(1.0)
    assert why.rates.decode == 50.0


def test_who_ran_out_of_time_while_it_was_answered_did_not_wait_for_it() -> None:
    late = Trouble("deadline_exceeded", "The time is over.")
    none = {"usage": Usage(), "timings": Timings(), "outcome": "overloaded", "trouble": late}
    assert {part.name for part in explain(trace(**none)).parts} >= {"prefill", "decode"}
    assert "queue" not in {part.name for part in explain(trace(**none)).parts}
    reading = explain(trace(**none, ttft=None, engine="llama.cpp"))
    assert [part.name for part in reading.parts] == ["other"]
    assert "engine" in reading.parts[0].cause
    assert [part.name for part in explain(trace(**none, ttft=None)).parts] == ["queue"]
