"""Helpers for tests that store tiny models, or pull them from wheels made on the fly."""

from __future__ import annotations

import hashlib
import os
from contextlib import aclosing
from pathlib import Path

from inhouse.core.models import ModelName
from inhouse.store import catalogue
from inhouse.store.gguf_facts import inspect
from inhouse.store.layout import Layout
from inhouse.store.manifest import Manifest, Part, Place, encode, stamp_of
from inhouse.store.sources import PullEvent
from inhouse.store.sources.wheels import Wheel
from inhouse.store.store import Store

from . import tiny_gguf

MODEL = tiny_gguf.model(1)
name = ModelName.parse


def entry(name: str, tags: tuple[str, ...], data: bytes, parts: tuple[Wheel, ...]) -> catalogue.Entry:
    sha256 = hashlib.sha256(data).hexdigest()
    return catalogue.Entry(
        model=name,
        tags=tags,
        description="for tests",
        licence="Apache-2.0",
        capabilities=("completion",),
        sources=(catalogue.joined(parts, f"{name}.gguf", sha256, len(data)),),
        defaults={"temperature": 0.5, "stop": ["a", "b"]},
    )


def put(home: Path, text: str, data: bytes, *, at: float | None = None) -> str:
    """Store a model without a source. Returns its weights' digest."""
    layout = Layout(home)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    with layout.lock():
        temp = layout.partial / "put.tmp"
        temp.write_bytes(data)
        layout.adopt(temp, digest)
        facts = inspect(layout.blob(digest))
        part = Part("model", "w.gguf", digest, len(data))
        manifest = Manifest(schema=2, parts=(part,), origin="test:", facts=facts)
        places = {digest: Place("", stamp_of(layout.blob(digest)))}
        layout.write(layout.manifest(name(text)), encode(name(text), manifest, places))
    if at is not None:
        os.utime(layout.manifest(name(text)), (at, at))
    return digest


async def drain(store: Store, text: str) -> list[PullEvent]:
    async with aclosing(store.pull(text)) as events:
        return [event async for event in events]
