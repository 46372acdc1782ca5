"""Tunings: kept whole, read with care, found again only for what they hold for; what there is to try."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.models import Card, CardFile, Footprint, ModelName
from inhouse.engines import speculation
from inhouse.engines.recipe import Tuned
from inhouse.engines.tuned import Kept, Key, Shelf, Trial, free_of, sane, shown, steps

KEY = Key("1" * 64, "llama-server b1", "f" * 16)
KEPT = Kept(
    KEY,
    "m:latest",
    Tuned(threads=2, batch=256, flash_attention=True, speculative="ngram"),
    1000.0,
    (Trial("threads 1", 0.6, 0.5, 0.7, 3, "slower"),),
    {"decode": 1.1},
)
CARD = Card(
    ModelName.parse("m"),
    "0" * 64,
    "/models/blob",
    "1" * 64,
    100,
    Footprint(100, 1),
    capabilities=frozenset({"completion", "chat"}),
)


class TestShelf:
    def test_what_is_put_there_is_found_again(self, tmp_path: Path) -> None:
        Shelf(tmp_path).put(KEPT)
        assert Shelf(tmp_path).get(KEY) == KEPT
        assert Shelf(tmp_path).of("1" * 64) == [KEPT]

    @pytest.mark.parametrize("field", ["weights", "build", "machine"])
    def test_it_holds_for_nothing_else(self, tmp_path: Path, field: str) -> None:
        shelf = Shelf(tmp_path)
        shelf.put(KEPT)
        other = dataclasses.replace(KEY, **{field: "other"})
        assert shelf.get(other) is None

    def test_a_newer_one_replaces_it(self, tmp_path: Path) -> None:
        shelf = Shelf(tmp_path)
        shelf.put(KEPT)
        shelf.put(dataclasses.replace(KEPT, at=2000.0))
        assert [one.at for one in shelf.of("1" * 64)] == [2000.0]
        assert [path.suffix for path in (tmp_path / "tuned").iterdir()] == [".json"]

    def test_forgetting_leaves_other_models_alone(self, tmp_path: Path) -> None:
        shelf = Shelf(tmp_path)
        other = dataclasses.replace(KEPT, key=Key("2" * 64, "b", "f"))
        shelf.put(KEPT)
        shelf.put(dataclasses.replace(KEPT, key=dataclasses.replace(KEY, build="b2")))
        shelf.put(other)
        assert shelf.forget("1" * 64) == 2
        assert shelf.of("1" * 64) == []
        assert shelf.of("2" * 64) == [other]

    def test_an_empty_home_has_none(self, tmp_path: Path) -> None:
        shelf = Shelf(tmp_path / "missing")
        assert (shelf.get(KEY), shelf.of("1" * 64), shelf.forget("1" * 64)) == (None, [], 0)

    @pytest.mark.parametrize(
        "change",
        [
            {"tuned": {"threads": -1}},
            {"tuned": {"threads": "many"}},
            {"tuned": {"batch": 1}},
            {"tuned": {"slots": 10**9}},
            {"tuned": {"kv_cache_type": "q1"}},
            {"tuned": {"speculative": "nonsense"}},
            {"tuned": None},
            {"at": "now"},
            {"key": {"weights": "2" * 64, "build": "b", "machine": "f"}},
        ],
    )
    def test_a_file_that_was_tampered_with_counts_as_none(
        self, tmp_path: Path, change: dict[str, Any]
    ) -> None:
        shelf = Shelf(tmp_path)
        shelf.put(KEPT)
        path = tmp_path / "tuned" / KEY.file
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        assert shelf.get(KEY) is None

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b" " * (2**20 + 1)])
    def test_a_broken_file_counts_as_none(self, tmp_path: Path, content: bytes) -> None:
        shelf = Shelf(tmp_path)
        shelf.put(KEPT)
        (tmp_path / "tuned" / KEY.file).write_bytes(content)
        assert shelf.get(KEY) is None
        assert shelf.of("1" * 64) == []


class TestSettled:
    def test_what_a_person_set_is_not_taken_from_a_tuning(self) -> None:
        tuned = Tuned(threads=4, slots=8, speculative="draft", draft="d", draft_tokens=3)
        assert free_of(tuned, frozenset({"threads", "speculative"})) == Tuned(slots=8)

    def test_nothing_set_leaves_it_whole(self) -> None:
        assert free_of(KEPT.tuned, frozenset()) == KEPT.tuned

    def test_a_good_tuning_is_sane(self) -> None:
        assert sane(Tuned())
        assert sane(KEPT.tuned)


def tried(**given: Any) -> dict[str, list[dict[str, Any]]]:
    given = {"cores": 4, "logical": 8} | given
    return {step.name: [dict(value) for value in step.values] for step in steps(CARD, **given)}


class TestSteps:
    def test_threads_around_the_cores_are_tried(self) -> None:
        assert tried()["threads"] == [{"threads": 8}, {"threads": 3}, {"threads": 2}]
        assert "threads" not in tried(cores=1, logical=1)

    def test_what_a_person_settled_is_not_tried(self) -> None:
        found = tried(settled=frozenset({"threads", "kv_cache_type", "speculative", "slots"}))
        assert {"threads", "kv_cache_type", "speculative", "slots"}.isdisjoint(found)

    def test_what_costs_quality_is_only_offered(self) -> None:
        step = next(step for step in steps(CARD, cores=2, logical=2) if step.name == "kv_cache_type")
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
        step = next(
            s for s in steps(card, cores=2, logical=2, drafts=(("x", "d" * 64),)) if s.kind == "guess"
        )
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
