"""Where the prompts of workers are saved, and that no trouble there keeps a model from being loaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from inhouse.compose.connecting import Connecting
from inhouse.config import Config
from inhouse.core.engine import Launch
from inhouse.core.errors import StoreError
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.core.requests import LoadOptions

CARD = Card(ModelName.parse("m"), "0" * 64, "", "sha256:" + "a" * 64, 1, Footprint(1, 1))


class Models:
    def __init__(self, *cards: Card, broken: bool = False) -> None:
        self._cards, self._broken = cards, broken

    def cards(self) -> list[Card]:
        if self._broken:
            raise StoreError("The models cannot be listed.")
        return list(self._cards)


def made(home: Path, store: Any, **engine: Any) -> Connecting:
    config = Config(home=home)
    return Connecting(dataclasses.replace(config, engine=dataclasses.replace(config.engine, **engine)), store)


def saved(home: Path) -> set[str]:
    return {path.name for path in (home / "prefixes").iterdir()}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for model in ("a" * 16, "b" * 16):
        (tmp_path / "prefixes" / f"{model}-wheel-1-k").mkdir(parents=True)
    return tmp_path


def load(connecting: Connecting) -> Launch:
    plan = connecting.launching(lambda card, options: Launch("double", ("x",), "/w.sock"))
    return plan(CARD, LoadOptions())


def test_before_a_load_the_prompts_of_models_that_are_gone_go(home: Path) -> None:
    load(made(home, Models(CARD)))
    assert saved(home) == {"a" * 16 + "-wheel-1-k"}


def test_without_room_for_them_all_go(home: Path) -> None:
    connecting = made(home, Models(CARD), prefix_cache=0)
    load(connecting)
    assert connecting.root == ""
    assert saved(home) == set()


def test_models_that_cannot_be_listed_keep_theirs_and_the_load_goes_on(home: Path) -> None:
    assert load(made(home, Models(broken=True))).engine == "double"
    assert len(saved(home)) == 2


def fill(home: Path) -> None:
    for folder in (home / "prefixes").iterdir():
        (folder / "one.kv").write_bytes(b"x" * 10)


def test_saved_prompts_of_models_that_are_gone_are_counted_and_pruned(home: Path) -> None:
    fill(home)
    connecting = made(home, Models(CARD))
    assert connecting.sizes() == (20, 10)
    assert connecting.prune(dry_run=True, everything=False) == 10
    assert connecting.sizes() == (20, 10)
    (home / "prefixes" / f"{'a' * 16}-wheel-1-k" / "one.json").write_text("{}")  # of no use: it goes, too
    assert connecting.prune(dry_run=False, everything=False) >= 10
    assert saved(home) == {"a" * 16 + "-wheel-1-k"}


def test_all_saved_prompts_go_where_that_is_asked(home: Path) -> None:
    fill(home)
    connecting = made(home, Models(CARD))
    assert connecting.prune(dry_run=True, everything=True) == 20
    assert connecting.prune(dry_run=False, everything=True) == 20
    assert connecting.sizes() == (0, 0)


def test_where_nobody_knows_which_models_there_are_nothing_is_pruned(home: Path) -> None:
    with pytest.raises(StoreError):
        made(home, Models(broken=True)).prune(dry_run=False, everything=True)
    assert len(saved(home)) == 2
