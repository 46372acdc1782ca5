"""One real server with the real models, for the official clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.models import borrowed_home
from support.running import Server, serving

SMOL, QWEN = "smollm2", "qwen2.5-coder:0.5b"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = borrowed_home(tmp_path_factory.mktemp("sdk"), SMOL, QWEN)
    with serving(home, INHOUSE_ENGINE="wheel", INHOUSE_SLOTS="4", INHOUSE_CONTEXT_LENGTH="2048") as running:
        yield running
