"""What there is to try for a model, and what a search remembers of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from inhouse.core.errors import OutOfMemory, Unsupported
from inhouse.core.models import Card, CardFile, Footprint, ModelName
from inhouse.engines import speculation
from inhouse.engines.recipe import Tuned
from inhouse.engines.tuned import Trial
from inhouse.engines.tuned_steps import Search, changed, check, check_room, shown, steps

CARD = Card(
    ModelName.parse("m"),
    "0" * 64,
    "/models/blob",
    "1" * 64,
    100,
    Footprint(100, 1),
    capabilities=frozenset({"completion", "chat"}),
)


def tried(**given: Any) -> dict[str, list[dict[str, Any]]]:
    given = {"cores": 4, "more": (4, 8)} | given
    return {step.name: [dict(value) for value in step.values] for step in steps(CARD, **given)}


class TestSteps:
    def test_threads_around_the_cores_are_tried(self) -> None:
        assert tried()["threads"] == [{"threads": 8}, {"threads": 3}, {"threads": 2}]
        assert "threads" not in tried(cores=1, more=(1,))
        hybrid = tried(cores=6, more=(14, 20))["threads"]
        assert [value["threads"] for value in hybrid] == [20, 14, 5, 3]

    def test_what_a_person_settled_is_not_tried(self) -> None:
        found = tried(settled=frozenset({"threads", "kv_cache_type", "speculative", "slots"}))
        assert {"threads", "kv_cache_type", "speculative", "slots"}.isdisjoint(found)

    def test_what_costs_quality_is_only_offered(self) -> None:
        step = next(step for step in steps(CARD, cores=2) if step.name == "kv_cache_type")
        assert {"kv_cache_type": "q4_0"} not in step.values
        assert step.offered == ({"kv_cache_type": "q4_0"},)

    def test_guesses_that_mix_requests_are_never_tried(self) -> None:
        modes = [value["speculative"] for value in tried()["speculative"]]
        assert modes[0] == "none"
        assert speculation.SHARES.isdisjoint(modes)
        assert {"ngram-map-k", "ngram-map-k4v"} <= set(modes)

    def test_smaller_models_that_are_here_may_guess(self) -> None:
        found = tried(drafts=(("small", "d" * 64),))["speculative"]
        assert found[-1] == {"speculative": "draft", "draft": "d" * 64}

    def test_a_draft_model_of_its_own_is_the_one_that_is_tried(self) -> None:
        card = dataclasses.replace(CARD, files=(CardFile("draft", "/d", "d", "5" * 64, 1),))
        step = next(s for s in steps(card, cores=2, drafts=(("x", "d" * 64),)) if s.kind == "guess")
        assert [v for v in step.values if v["speculative"] == "draft"] == [{"speculative": "draft"}]

    def test_a_quick_search_is_a_short_one(self) -> None:
        def count(found: dict[str, list[Any]]) -> int:
            return sum(map(len, found.values()))

        assert set(tried(quick=True)) == {"threads", "batch", "speculative"}
        assert count(tried(quick=True)) < count(tried()) / 2

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"threads": 2}, "threads 2"),
            ({"mmap": False}, "mmap off"),
            ({"speculative": "draft", "draft": "d" * 64}, "speculative draft (small)"),
        ],
    )
    def test_what_is_tried_is_told_in_words(self, change: dict[str, Any], text: str) -> None:
        assert shown(change, {"d" * 64: "small"}) == text


class TestSearch:
    def test_another_way_of_guessing_takes_its_draft_model_along(self) -> None:
        draft = changed(Tuned(batch=64), {"speculative": "draft", "draft": "d"})
        assert changed(draft, {"speculative": "ngram"}) == Tuned(batch=64, speculative="ngram")
        assert changed(draft, {"threads": 1}).draft == "d"

    def test_each_try_stands_on_the_best_so_far(self) -> None:
        search = Search()
        for value, taken in (({"batch": 64}, True), ({"threads": 1}, False), ({"mmap": True}, True)):
            wanted = search.wanted(value)
            assert wanted is not None
            search.note(Trial(shown(value)), wanted, taken=taken)
        assert search.best == Tuned(batch=64, mmap=True)
        assert search.wanted({"batch": 64}) is None
        assert [trial.what for trial in search.trials] == ["batch 64", "threads 1", "mmap on"]

    def test_what_there_was_no_time_for_is_told(self) -> None:
        search = Search()
        search.skip("mmap on")
        assert search.trials == [Trial("mmap on", outcome="not tried: no time was left")]


class TestChecks:
    @pytest.mark.parametrize(
        "change", [{"format": "safetensors"}, {"capabilities": frozenset({"embedding"})}]
    )
    def test_only_what_generates_text_from_gguf_is_tuned(self, change: dict[str, Any]) -> None:
        check(CARD)
        with pytest.raises(Unsupported):
            check(dataclasses.replace(CARD, **change))

    def test_two_workers_must_fit_beside_what_is_loaded(self) -> None:
        check_room(2**30, 2**31)
        with pytest.raises(OutOfMemory, match="2048 MiB, and 2047 MiB are free"):
            check_room(2**30, 2**31 - 1)
