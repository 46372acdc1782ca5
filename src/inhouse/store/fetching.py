"""Brings the files of a listing: one download per blob, whoever asks; verified before it is a blob."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from ..core.errors import BadRequest, Conflict, DigestMismatch
from .gguf import read_header
from .layout import Layout, guarded, pull_lock
from .manifest import Part, Place, stamp_of
from .sources import Asset, Got, Listing, PullEvent, Source, Watch

log = logging.getLogger(__name__)

LOCK_POLL: Final = 0.5
GGUF_ROLES: Final = frozenset({"model", "projector", "adapter", "draft"})


@dataclass(frozen=True, slots=True)
class Held:
    """A file that is here: what a manifest says of it, and where it lies. ``origin`` as in Got."""

    part: Part
    place: Place
    path: Path
    origin: str = ""


class Fetcher:
    """Turns assets into blobs, or into places of files that stay where they are."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def bring(self, listing: Listing, kind: str, source: Source, watch: Watch) -> tuple[Held, ...]:
        """All files of a listing. Raises what ``Source.fetch`` does, NoSpace, BadRequest."""
        self._layout.prepare()
        self._make_room(listing, kind, source)
        return tuple(self._one(asset, kind, source, watch) for asset in listing.assets)

    def _folder(self, asset: Asset, kind: str) -> Path:
        """The asset's own folder; the same bytes wanted twice meet in it."""
        identity = asset.sha256 or f"{kind}\n{asset.locator!r}\n{asset.file}\n{asset.size}"
        return self._layout.partial / sha256(identity.encode()).hexdigest()[:24]

    def _make_room(self, listing: Listing, kind: str, source: Source) -> None:
        needed = 0
        for asset in listing.assets:
            if not self._here(asset):
                needed += source.missing(asset, self._folder(asset, kind))
        if needed:
            self._layout.need(needed, "The pull needs")

    def _here(self, asset: Asset) -> Held | None:
        """The blob of an asset, if it is here in its full size."""
        if not asset.sha256:
            return None
        blob = self._layout.blob(f"sha256:{asset.sha256}")
        with guarded("looking for weights"):
            try:
                size = blob.stat().st_size
                if asset.size and size != asset.size:
                    return None
                return _held(asset, Got(blob, asset.sha256, size))
            except FileNotFoundError:
                return None

    def _one(self, asset: Asset, kind: str, source: Source, watch: Watch) -> Held:
        if here := self._here(asset):
            size = here.part.size
            watch.say(PullEvent(f"pulling {asset.sha256[:12]}", f"sha256:{asset.sha256}", size, size))
            return here
        folder = self._folder(asset, kind)
        with contextlib.ExitStack() as stack:
            self._wait_for(folder, stack, watch)
            if here := self._here(asset):  # whoever held the lock has brought it
                return here
            with guarded("preparing the download"):
                folder.mkdir(exist_ok=True)
            got = source.fetch(asset, folder, watch)
            held = self._keep(asset, got, watch)
            shutil.rmtree(folder, ignore_errors=True)
            return held

    def _keep(self, asset: Asset, got: Got, watch: Watch) -> Held:
        """Check a file that came and make it a blob; bytes that are no model are not kept."""
        if asset.sha256 and got.sha256 != asset.sha256:
            raise DigestMismatch(
                f"The file has the digest sha256:{got.sha256}, sha256:{asset.sha256} was expected.",
                hint="Nothing was kept. Try again; if it stays so, the source is not what it was.",
            )
        watch.check()
        if asset.role in GGUF_ROLES:
            try:
                read_header(got.path)
            except BadRequest:
                if not got.in_place:
                    shutil.rmtree(got.path.parent, ignore_errors=True)
                raise
        if got.in_place:
            with guarded("looking at a file"):
                return _held(asset, got)
        digest = f"sha256:{got.sha256}"
        with self._layout.lock(), guarded("storing weights"):
            path = self._layout.blob(digest)
            if path != got.path:
                path = self._layout.adopt(got.path, digest)
            return _held(asset, replace(got, path=path))

    def _wait_for(self, folder: Path, stack: contextlib.ExitStack, watch: Watch) -> None:
        """Take the file's lock; whoever holds it is fetching the same bytes."""
        said = False
        while True:
            watch.check()
            try:
                stack.enter_context(self._layout.hold(pull_lock(folder), LOCK_POLL))
                return
            except Conflict:
                if not said:
                    watch.say(PullEvent("waiting for another pull of this file"))
                said = True


def _held(asset: Asset, got: Got) -> Held:
    part = Part(asset.role, asset.file, f"sha256:{got.sha256}", got.size, asset.scale)
    place = Place(os.path.abspath(got.path) if got.in_place else "", stamp_of(got.path))
    return Held(part, place, got.path, got.origin)


__all__ = ["Fetcher", "Held"]
