"""One server with the real engine for all sources; every test begins with an empty store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import world as worlds
from support.world import World


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with worlds.world(tmp_path_factory.mktemp("sources")) as made:
        yield made


@pytest.fixture
def world(running: World) -> Iterator[World]:
    yield running
    running.clean()
