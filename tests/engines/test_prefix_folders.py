"""Saved prompts lie apart where a worker could not read another's."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.models import Card, CardFile, Footprint, ModelName
from inhouse.engines.prefixes import folder, model_part

ORDER: dict[str, Any] = {
    "model": "/blobs/w",
    "address": "/run/a.sock",
    "secret": "",
    "slots": 2,
    "context_length": 4096,
    "threads": 2,
    "kv_cache_type": "f16",
    "flash_attention": None,
    "gpu_layers": -1,
    "batch": 128,
    "draft": "",
    "guess": ["ngram-simple"],
    "adapters": [],
    "template": "",
}


def card(**more: Any) -> Card:
    fields: dict[str, Any] = {
        "capabilities": frozenset({"completion"}),
        "weights_digest": "sha256:" + "ab" * 32,
    }
    return Card(ModelName.parse("m"), "d", "w", size=1, footprint=Footprint(1, 1), **fields | more)


@pytest.fixture
def name(tmp_path: Path):
    def made(
        order: dict[str, Any] | None = None, *, build: str = "b1", kind: str = "wheel", **more: Any
    ) -> str:
        found = folder(str(tmp_path), card(**more), ORDER | (order or {}), kind=kind, build=build)
        return Path(found).name if found else ""

    return made


def test_the_folder_is_made_for_its_user_alone(tmp_path):
    found = Path(folder(str(tmp_path / "deep" / "er"), card(), ORDER, kind="wheel", build="b1"))
    assert found.is_dir()
    assert found.name.split("-")[:2] == [model_part("sha256:" + "ab" * 32), "wheel"]
    if sys.platform != "win32":
        assert stat.S_IMODE(found.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "order",
    [
        {"kv_cache_type": "q8_0"},
        {"flash_attention": False},
        {"slots": 3},
        {"gpu_layers": 0},
        {"something_new": 1},
    ],
)
def test_what_changes_the_cache_or_is_unknown_has_its_own(name, order):
    assert name(order) != name()


@pytest.mark.parametrize(
    "order",
    [
        {"address": "/run/b.sock"},
        {"secret": "s"},
        {"threads": 9},
        {"batch": 512},
        {"context_length": 8192},
        {"template": "{{ x }}"},
        {"guess": []},
        {"adapters": [["/blobs/a", 0.0]]},
        {"memory_limit": 5, "cache_ram_mib": 7, "mmap": False, "model": "/elsewhere"},
    ],
)
def test_what_makes_no_difference_shares_it(name, order):
    assert name(order) == name()


def test_weights_builds_and_kinds_of_engine_are_apart(name):
    names = {name(), name(build="b2"), name(kind="native"), name(weights_digest="sha256:" + "cd" * 32)}
    assert len(names) == 4


def test_a_projector_is_told_by_its_digest(name):
    files = tuple(CardFile("projector", "/p", "p", "sha256:" + digit * 64, 1) for digit in "12")
    assert len({name(), name(files=files[:1]), name(files=files[1:])}) == 3


def test_the_context_counts_where_it_picks_the_factors_of_positions(name):
    long = {"metadata": {"phi3.rope.scaling.original_context_length": 4096}}
    assert name({"context_length": 4096}, **long) != name({"context_length": 8192}, **long)
    assert name({"context_length": 2048}, **long) == name({"context_length": 4096}, **long)


def test_where_nothing_can_be_saved_there_is_no_folder(name, tmp_path):
    assert name({"draft": "/blobs/d"}) == ""
    assert name({"guess": ["draft-mtp"]}) == ""
    assert name(capabilities=frozenset({"embedding"})) == ""
    assert folder("", card(), ORDER, kind="wheel", build="b") == ""
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert folder(str(blocked), card(), ORDER, kind="wheel", build="b") == ""
