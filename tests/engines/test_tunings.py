"""Tunings as they are used: for what they hold for, behind what a person set, with the model that guesses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from inhouse.core.models import Card, CardFile, Footprint, ModelName, Tuning
from inhouse.engines.recipe import Recipe, Room, Tuned
from inhouse.engines.tuned import Kept, Key
from inhouse.engines.tunings import Tunings, with_draft
from inhouse.machine import Machine, fingerprint

MACHINE = Machine("linux", "x86_64", "A CPU", 2, 2, (), 8 * 2**30, 8 * 2**30)
CARD = Card(
    ModelName.parse("m"),
    "0" * 64,
    "/models/blob",
    "1" * 64,
    100,
    Footprint(100, 1),
    capabilities=frozenset({"completion"}),
    parameters=1_500_000_000,
    vocabulary=1000,
    files=(CardFile("model", "/models/blob", "m.gguf", "1" * 64, 100),),
)
SMALL = dataclasses.replace(
    CARD,
    name=ModelName.parse("small"),
    weights_digest="2" * 64,
    size=50,
    parameters=500_000_000,
    files=(CardFile("model", "/models/small", "s.gguf", "2" * 64, 50),),
)
RECIPE = cast(Recipe, SimpleNamespace(build="llama.cpp b1"))
KEPT = Kept(Key("1" * 64, RECIPE.build, fingerprint(MACHINE)), "m:latest", Tuned(threads=1, batch=256), 1.0)


def tunings(
    home: Path,
    *,
    machine: Machine = MACHINE,
    origins: Mapping[str, str] | None = None,
    models: Sequence[Card] = (),
) -> Tunings:
    return Tunings(home, machine, origins=origins or {}, models=lambda: models)


def test_another_build_or_machine_does_not_use_it(tmp_path: Path) -> None:
    tunings(tmp_path).keep(KEPT)
    assert tunings(tmp_path).apply(CARD, RECIPE, Room(1, 2))[1].tuned == KEPT.tuned
    other = cast(Recipe, SimpleNamespace(build="llama.cpp b2"))
    elsewhere = tunings(tmp_path, machine=dataclasses.replace(MACHINE, cpu="Another"))
    assert tunings(tmp_path).apply(CARD, other, Room(1, 2))[1].tuned == Tuned()
    assert elsewhere.apply(CARD, RECIPE, Room(1, 2))[1].tuned == Tuned()


def test_what_the_user_or_the_model_set_comes_first(tmp_path: Path) -> None:
    found = tunings(tmp_path, origins={"engine.threads": "environment", "engine.slots": "default"})
    found.keep(KEPT)
    assert found.apply(CARD, RECIPE, Room(1, 2))[1].tuned == Tuned(batch=256)
    own = dataclasses.replace(CARD, tuning=Tuning(kv_cache_type="q8_0"))
    assert found.settled(own) == {"threads", "kv_cache_type"}


def test_what_is_forgotten_is_not_used(tmp_path: Path) -> None:
    found = tunings(tmp_path)
    found.keep(KEPT)
    assert found.forget(CARD) == 1
    assert found.all(CARD) == []
    assert found.apply(CARD, RECIPE, Room(1, 2))[1].tuned == Tuned()


def test_a_trial_goes_before_what_is_kept_until_it_was_tried(tmp_path: Path) -> None:
    found = tunings(tmp_path)
    found.keep(KEPT)
    found.try_out(CARD, Tuned(threads=7))
    assert found.apply(CARD, RECIPE, Room(1, 2))[1].tuned == Tuned(threads=7)
    found.tried(CARD)
    assert found.apply(CARD, RECIPE, Room(1, 2))[1].tuned == KEPT.tuned


def test_models_that_could_guess_come_smallest_first_and_once(tmp_path: Path) -> None:
    again = dataclasses.replace(SMALL, name=ModelName.parse("again"), size=60)
    found = tunings(tmp_path, models=(CARD, again, SMALL))
    assert [digest for _, digest in found.drafts(CARD)] == ["2" * 64]


def test_a_draft_model_is_a_file_of_the_model() -> None:
    assert [file.role for file in with_draft(CARD, SMALL).files] == ["model", "draft"]
