"""Helpers for tests of the store's own life: jobs drained, files written, the tree looked at."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import struct
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from pathlib import Path

from inhouse.core.create import Create, FileRef
from inhouse.core.models import Card, ModelName
from inhouse.store.sources import PullEvent
from inhouse.store.store import Store

from . import tiny_gguf

name = ModelName.parse
SHARES = ((), tiny_gguf.TENSORS[:2], tiny_gguf.TENSORS[2:])
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 128,
    "vocab_size": 16,
}


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


async def drained(events: AsyncGenerator[PullEvent, None]) -> list[PullEvent]:
    async with aclosing(events):
        return [event async for event in events]


def done(store: Store, events: AsyncGenerator[PullEvent, None]) -> list[PullEvent]:
    """A job from start to end, for tests without a loop."""

    async def run() -> list[PullEvent]:
        try:
            return await drained(events)
        finally:
            await store.close()

    return asyncio.run(run())


def upload(store: Store, data: bytes) -> str:
    """Store a blob; its digest."""
    digest = sha256(data)
    store.receive(digest, io.BytesIO(data))
    return digest


def refs(store: Store, files: dict[str, bytes]) -> tuple[FileRef, ...]:
    """Uploaded files to make a model from."""
    return tuple(FileRef(file, digest=upload(store, data)) for file, data in files.items())


def make(store: Store, text: str, files: dict[str, bytes], **order: object) -> Card:
    """Make a model from uploads; its card."""
    return ordered(store, Create(name=text, files=refs(store, files), **order))  # type: ignore[arg-type]


def ordered(store: Store, order: Create, *, trusted: bool = True) -> Card:
    """Carry an order out; the card of what it made."""

    async def run() -> None:
        await drained(store.create(order, trusted=trusted))

    asyncio.run(run())
    return store.get(name(order.name))


def parts() -> dict[str, bytes]:
    """The valid model in three parts, the first without tensors."""
    built = tiny_gguf.split(SHARES)
    return {f"m-{i:05}-of-00003.gguf": one.build() for i, one in enumerate(built, 1)}


def safetensors() -> dict[str, bytes]:
    """A tiny safetensors model."""
    head = json.dumps({"model.embed.weight": {"dtype": "F16", "shape": [8, 4], "data_offsets": [0, 64]}})
    raw = head.encode().ljust(-(-len(head) // 8) * 8)
    weights = struct.pack("<Q", len(raw)) + raw + bytes(64)
    config = json.dumps(CONFIG).encode()
    return {"config.json": config, "tokenizer.json": b"{}", "model.safetensors": weights}


def tree(top: Path, *, but: Iterable[str] = ()) -> dict[str, object]:
    """Everything below a folder: files with their bytes, links with what they lead to, folders."""
    found: dict[str, object] = {}
    for path in sorted(top.rglob("*")):
        key = path.relative_to(top).as_posix()
        if path.suffix == ".lock" or path.name == ".lock" or any(key.startswith(one) for one in but):
            continue
        if path.is_symlink():
            found[key] = ("link", str(path.readlink()))
        elif path.is_file():
            found[key] = path.read_bytes()
        else:
            found[key] = "folder"
    return found


def leftovers(home: Path) -> list[str]:
    """What lies in the folder of unfinished work, locks aside."""
    partial = home / "models/partial"
    return [p.name for p in partial.iterdir() if p.suffix != ".lock"] if partial.is_dir() else []
