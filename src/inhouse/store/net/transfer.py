"""One file, from a reader into a folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from ...core.errors import DigestMismatch, SourceFailed
from ..layout import guarded
from ..sources.base import Asset, Got, PullEvent, Watch


def transfer(reader: Any, asset: Asset, folder: Path, watch: Watch, *, pause: float) -> Got:
    from .wire import Request

    answer = reader.client.open(Request("GET", reader.url, reader.headers), watch.check)
    if answer.status != 200:
        raise SourceFailed(f"The source answered HTTP {answer.status}.", hint="Check the address.")
    digest, done, part = hashlib.sha256(), 0, folder / "data.part"
    title = asset.sha256[:12] or asset.file
    view = memoryview(bytearray(2**20))
    with guarded("writing a model"), part.open("wb") as file:
        while count := answer.readinto(view):
            digest.update(view[:count])
            file.write(view[:count])
            done += count
            watch.say(PullEvent(f"pulling {title}", asset.sha256, answer.length or asset.size, done))
        file.flush()
        os.fsync(file.fileno())
    watch.say(PullEvent("verifying sha256 digest"))
    if asset.sha256 and digest.hexdigest() != asset.sha256:
        part.unlink()
        raise DigestMismatch(
            f"digest mismatch: expected {asset.sha256}, got {digest.hexdigest()}", hint="Retry."
        )
    part.replace(folder / "data")
    return Got(folder / "data", digest.hexdigest(), done)
