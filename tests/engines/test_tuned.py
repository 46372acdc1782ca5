"""Tunings: kept whole, read with care, found again only for what they hold for."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from inhouse.engines.recipe import Tuned
from inhouse.engines.tuned import Kept, Key, Shelf, Trial, as_json, free_of, record, sane

KEY = Key("1" * 64, "llama-server b1", "f" * 16)
KEPT = Kept(
    KEY,
    "m:latest",
    Tuned(threads=2, batch=256, flash_attention=True, speculative="ngram"),
    1000.0,
    (Trial("threads 1", 0.6, 0.5, 0.7, 3, "slower"),),
    {"decode": 1.1},
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


def test_clients_see_only_what_was_set() -> None:
    shown = as_json(KEPT)
    assert shown["tuned"] == {"threads": 2, "batch": 256, "flash_attention": True, "speculative": "ngram"}
    assert shown["trials"][0]["outcome"] == "slower"
    assert (shown["build"], shown["gains"]) == ("llama-server b1", {"decode": 1.1})


def test_the_journal_tells_the_gains_or_that_there_are_none() -> None:
    assert record(KEPT).cause == "It was tuned for this machine: decode 1.10x."
    assert "Nothing beats" in record(dataclasses.replace(KEPT, gains={})).cause
