"""What the kept things of clients do when others are at work on them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inhouse.archive import Archive, Kept
from inhouse.core.errors import BadRequest, BodyTooLarge, NoSpace, NotFound, QueueFull
from inhouse.core.events import ChoiceEnd, Event, Finished, TextDelta
from inhouse.core.messages import Image, Message
from inhouse.core.requests import Chat
from inhouse.core.usage import Timings, Usage
from inhouse.dialects.openai.files import kept_file
from inhouse.dialects.openai.responses import decode_create
from inhouse.server.kept.background import Background
from inhouse.server.kept.files import with_files
from inhouse.server.kept.memory import Memory
from inhouse.server.kept.turn import Turn, composed

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01" + bytes(9)
MIB = 2**20


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


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    made = Archive(tmp_path / "files", days=30, most=200 * MIB)
    yield made
    await made.close()


async def upload(archive: Archive, ident: str, data: bytes) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    body = {"bytes": len(data), "filename": "a", "purpose": "user_data"}
    await archive.write_file(lambda size: Kept("file", ident, "t", time.time(), body), chunks(), 100 * MIB)


def chat(*idents: str) -> Chat:
    parts = tuple(kept_file(ident, f"messages[0].content[{i}]") for i, ident in enumerate(idents))
    return Chat(model="m", messages=(Message("user", parts),))


async def test_images_may_be_larger_than_texts(archive: Archive) -> None:
    await upload(archive, "picture", PNG + bytes(9 * MIB))
    await upload(archive, "text", b"x" * 9 * MIB)
    (message,) = (await with_files(chat("picture"), archive, "t")).messages
    assert isinstance(message.parts[0], Image)
    with pytest.raises(BodyTooLarge):
        await with_files(chat("text"), archive, "t")


async def test_what_files_bring_into_a_chat_is_limited_in_all(archive: Archive) -> None:
    await upload(archive, "text", b"x" * 8 * MIB)
    await upload(archive, "picture", PNG)
    with pytest.raises(BodyTooLarge) as caught:
        await with_files(chat(*["text"] * 10_000), archive, "t")
    assert caught.value.param == "messages[0].content[8]"
    with pytest.raises(BadRequest, match="at most 32 images"):
        await with_files(chat(*["picture"] * 33), archive, "t")


async def test_what_files_bring_into_a_response_is_limited_in_all(archive: Archive) -> None:
    def asked(*idents: str) -> bytes:
        parts = [{"type": "input_file", "file_id": ident} for ident in idents]
        return json.dumps({"model": "m", "input": [{"role": "user", "content": parts}]}).encode()

    await upload(archive, "text", b"x" * 8 * MIB)
    for i in range(4):
        await upload(archive, f"large{i}", b"x" * 18 * MIB)
    memory = Memory(archive, "t")
    with pytest.raises(BodyTooLarge) as caught:
        await composed(memory, decode_create(asked(*["text"] * 9)))
    assert caught.value.param == "input[0].content[8].file_id"
    with pytest.raises(BodyTooLarge, match="together"):
        await composed(memory, decode_create(asked(*(f"large{i}" for i in range(4)))))


async def fed(turn: Turn, told: list[Any]) -> None:
    async def events() -> AsyncGenerator[Event, None]:
        yield TextDelta("a")
        yield ChoiceEnd("stop")
        yield Finished(Usage(1, 1), Timings())

    async for event in turn.events(events()):
        turn.encoder.feed(event)
        told.append(type(event))


async def test_a_conversation_is_free_before_the_answer_ends(archive: Archive) -> None:
    order = decode_create(b'{"model": "m", "input": "hi"}')
    told: list[Any] = []
    turn = Turn(Memory(archive, "t"), order, [], store=True, release=lambda: told.append("free"))
    await fed(turn, told)
    assert told[:4] == [TextDelta, ChoiceEnd, "free", Finished]


async def test_a_response_and_what_it_adds_to_its_conversation_are_kept_together(tmp_path: Path) -> None:
    small = Archive(tmp_path / "small", days=30, most=4000)
    memory = Memory(small, "t")
    await memory.start_conversation("conv_1", {})
    order = decode_create(b'{"model": "m", "input": "hi", "conversation": "conv_1"}')
    released: list[bool] = []
    item = {"type": "message", "id": "msg_1", "pad": "x" * 2500}
    turn = Turn(memory, order, [item], store=True, release=lambda: released.append(True))
    with pytest.raises(NoSpace):
        await fed(turn, [])
    assert released
    with pytest.raises(NotFound):
        await memory.response(turn.id)
    assert await memory.conversation_items("conv_1") == []
    await small.close()
