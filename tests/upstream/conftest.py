"""A double of llama-server and an engine that talks to it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from upstream.llama_double import LlamaDouble


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: a socket's has about 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="ih-") as path:
        yield Path(path)


@pytest.fixture
async def double(folder: Path) -> AsyncIterator[LlamaDouble]:
    async with LlamaDouble(folder / "w.sock") as running:
        yield running
