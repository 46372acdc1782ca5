"""What may be asked of a plan; what was asked for stays, the rest is what fits."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from inhouse.core.errors import BadRequest, OutOfMemory
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.machine import Machine
from inhouse.planning.asking import ENDLESS, as_asked, asked_too_much, check_cache, check_exact
from inhouse.planning.found import Found
from inhouse.planning.places import Place

CARD = Card(ModelName.parse("m"), "d", "/m", "w", 1, Footprint(1, 1), context_length=4096)
FOUND = Found(CARD, (), "stored")
PLACE = Place(Machine("linux", "x86_64", "A CPU", 2, 2, (), 4, 4), 1, True, "b1")


class Engine:
    """Lays out as many tokens as there are bytes, up to 4096 or what was asked for; none fits into less
    than ten."""

    def __init__(self, context: int | None) -> None:
        self.context = context
        self.asked: list[int] = []

    def __call__(self, free: int) -> dict[str, Any]:
        self.asked.append(free)
        if free < 10:
            raise OutOfMemory("no", hint="x")
        return {"context_length": min(free, self.context or 4096, 4096)}


@pytest.mark.parametrize(
    ("context", "users", "free", "found", "asked"),
    [
        (None, None, 100, 100, [100]),
        (None, None, 5, 4096, [5, ENDLESS]),
        (50, None, 100, 50, [100]),
        (200, None, 100, 200, [100, ENDLESS]),
        (9000, None, 5000, 4096, [5000]),
        (200, 2, 100, 200, [ENDLESS]),
    ],
)
def test_wishes_stay_whether_they_fit_or_not(
    context: int | None, users: int | None, free: int, found: int, asked: list[int]
) -> None:
    engine = Engine(context)
    assert as_asked(engine, free, 4096, (context, users))["context_length"] == found
    assert engine.asked == asked


def test_a_context_beyond_the_trained_one_is_told() -> None:
    assert asked_too_much(FOUND, 4096) == asked_too_much(FOUND, None) == []
    assert "9,000" in asked_too_much(FOUND, 9000)[0]
    assert (
        asked_too_much(dataclasses.replace(FOUND, card=dataclasses.replace(CARD, context_length=0)), 9) == []
    )


def test_only_types_that_are_known_are_planned() -> None:
    check_cache("")
    check_cache("q8_0")
    with pytest.raises(BadRequest) as caught:
        check_cache("f7")
    assert "q8_0" in caught.value.hint


def test_the_engine_reckons_with_a_file_of_this_machine_as_it_is() -> None:
    check_exact(FOUND, PLACE, "")
    for found, place, quant in (
        (FOUND, PLACE, "Q8_0"),
        (FOUND, dataclasses.replace(PLACE, here=False), ""),
        (dataclasses.replace(FOUND, card=dataclasses.replace(CARD, weights="")), PLACE, ""),
    ):
        with pytest.raises(BadRequest):
            check_exact(found, place, quant)
