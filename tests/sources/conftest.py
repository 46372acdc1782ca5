"""One server with the real engine for all sources; every test begins with an empty store."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import world as worlds
from support.world import World


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with worlds.world(tmp_path_factory.mktemp("sources")) as made:
        yield made


@pytest.fixture
def world(running: World, tmp_path: Path) -> Iterator[World]:
    """A store with nothing in it; cleaned before the test's files go, which models may lie in."""
    yield running
    running.clean()


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Weights are too large to be kept for the next runs, as pytest does."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)
