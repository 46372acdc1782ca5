"""What requests and loads say of predictions."""

from __future__ import annotations

import dataclasses

import pytest

from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.usage import Timings, Usage
from inhouse.machine import Machine
from inhouse.machine.footprint import Load
from inhouse.machine.shape import Tensor
from inhouse.planning import Host, Range, Rate, make
from inhouse.planning.found import Found
from inhouse.planning.places import Place
from inhouse.planning.scoring import (
    Apart,
    Heard,
    expected_memory,
    formula,
    heard,
    memory,
    predictions,
    reckoning,
    speeds,
)

MIB = 2**20
CARD = Card(
    ModelName.parse("m"),
    "d",
    "/m",
    "w",
    1,
    Footprint(1, 1),
    capabilities=frozenset({"completion"}),
    parameters=1_000_000,
    metadata={"general.architecture": "llama", "llama.block_count": 1, "llama.embedding_length": 32},
)
FOUND = Found(CARD, (Tensor("token_embd.weight", (32, 1024), "F16", 65536),), "stored")
LOAD = Load(1024, 2)
HOST = Host(2**33, 2, Rate(Range(1e9, 2e9), "nothing"), Rate(Range(1e9, 2e9), "nothing"))
PLACE = Place(Machine("linux", "x86_64", "A CPU", 2, 2, (), 4, 4), 2**33, True, "b1")
HEARD = Heard(fresh=500, prompt=600, answer=100, prefill=2.5, decode=4.0)


class TestHeard:
    def test_only_what_was_computed_afresh_counts(self) -> None:
        found = heard(Usage(600, 100, cached_tokens=100), Timings(prefill=2.5, decode=4.0), 7.0)
        assert found == HEARD

    def test_more_time_of_the_engine_than_there_was_says_nothing(self) -> None:
        assert heard(Usage(600, 100), Timings(prefill=3.0, decode=4.1), 7.0) is None
        assert heard(Usage(600, 100), Timings(prefill=3.0, decode=4.04), 7.0) is not None

    def test_answers_that_were_guessed_do_not_count(self) -> None:
        timings = Timings(prefill=1.0, decode=1.0)
        answers = []
        for accepted in (10, 11):
            found = heard(Usage(600, 100, accepted_tokens=accepted), timings, 3.0)
            assert found is not None
            answers.append(found.answer)
        assert answers == [100, 0]


def test_only_requests_that_overlapped_no_other_count() -> None:
    apart = Apart()
    times = [(0.0, 5.0), (4.0, 9.0), (9.0, 10.0)]
    assert [apart.note(*one) for one in times] == [True, False, True]


class TestSpeeds:
    def test_both_rates_are_held_against_what_was_told(self) -> None:
        decode, prefill = speeds(HEARD, FOUND, LOAD, HOST)
        assert (decode.what, decode.size, decode.measured) == ("decode", 600, 25.0)
        assert (prefill.what, prefill.size, prefill.measured) == ("prefill", 500, 200.0)
        for one in (decode, prefill):
            assert one.expected[1] < one.expected[0] < one.expected[2]
            assert one.coefficient > one.measured

    @pytest.mark.parametrize(
        ("change", "kinds"),
        [({"answer": 15}, ["prefill"]), ({"decode": 0.0}, ["prefill"]), ({"fresh": 63}, ["decode"])],
    )
    def test_short_ones_say_nothing(self, change: dict[str, float], kinds: list[str]) -> None:
        one = dataclasses.replace(HEARD, **change)  # type: ignore[arg-type]
        assert [came.what for came in speeds(one, FOUND, LOAD, HOST)] == kinds

    def test_nothing_is_held_against_nothing(self) -> None:
        assert speeds(HEARD, FOUND, LOAD, dataclasses.replace(HOST, decode=None)) == []


class TestPredictions:
    def test_those_of_a_stored_model_for_one_at_a_time_are_kept(self) -> None:
        kept = predictions(FOUND, PLACE, make(FOUND.subject, HOST, Load(1024, 1), prompt=512))
        assert list(kept) == ["decode", "prefill"]

    @pytest.mark.parametrize(
        ("found", "place", "slots"),
        [
            (FOUND, PLACE, 2),
            (FOUND, dataclasses.replace(PLACE, here=False), 1),
            (dataclasses.replace(FOUND, source="file"), PLACE, 1),
        ],
    )
    def test_no_others(self, found: Found, place: Place, slots: int) -> None:
        assert predictions(found, place, make(found.subject, HOST, Load(1024, slots), prompt=512)) == {}

    def test_none_without_a_speed(self) -> None:
        silent = dataclasses.replace(HOST, decode=None)
        assert predictions(FOUND, PLACE, make(FOUND.subject, silent, Load(1024, 1), prompt=512)) == {}


class TestMemory:
    def test_what_the_formula_was_found_to_lack_is_expected_the_next_time(self) -> None:
        wide = expected_memory(1000 * MIB, (0.0, 0))
        narrow = expected_memory(1000 * MIB, (50.0 * MIB, 3))
        assert wide == (1000 * MIB, 900 * MIB, 1100 * MIB)
        assert narrow == (1050 * MIB, 1018 * MIB, 1082 * MIB)

    def test_a_load_says_what_the_formula_lacks(self) -> None:
        plain = formula(FOUND, LOAD)
        came = memory(FOUND, LOAD, (0.0, 0), plain + 7)
        assert (came.what, came.size, came.measured, came.coefficient) == ("memory", 2048, plain + 7, 7)

    def test_the_engines_reckoning_knows_no_mapped_file(self) -> None:
        came = reckoning(FOUND, LOAD, 10 * MIB)
        weights_and_cache = came.expected[0]
        assert (came.what, came.coefficient) == ("exact", 10 * MIB - weights_and_cache)
        assert weights_and_cache < formula(FOUND, LOAD)
