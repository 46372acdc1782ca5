"""What the kept things of clients do when others are at work on them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inhouse.archive import Archive, Kept
from inhouse.core.errors import NotFound, QueueFull
from inhouse.server.kept.background import Background
from inhouse.server.kept.memory import Memory


class Raced(Archive):
    """Somebody else deletes what was just read."""

    async def get(self, kind: str, id: str, tenant: str) -> Kept | None:
        found = await super().get(kind, id, tenant)
        await self.delete(kind, id, tenant, children=True)
        return found


@pytest.fixture
async def raced(tmp_path: Path) -> AsyncIterator[Archive]:
    made = Raced(tmp_path / "kept", days=30, most=2**20)
    yield made
    await made.close()


async def test_new_metadata_does_not_bring_a_deleted_conversation_back(raced: Archive) -> None:
    memory = Memory(raced, "t")
    await memory.start_conversation("conv_1", {})
    with pytest.raises(NotFound):
        await memory.describe_conversation("conv_1", {"a": "b"})
    with pytest.raises(NotFound):
        await memory.conversation("conv_1")


def test_a_background_response_holds_its_place_while_it_is_prepared() -> None:
    background = Background(most=1)
    with background.place():
        with pytest.raises(QueueFull), background.place():
            pass
        with pytest.raises(QueueFull), background.place():
            pass
    with background.place():
        pass
