"""Is what lies on disk what the manifests promise; how much is it; what can go?"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..core.errors import Conflict, DigestMismatch, StoreError
from ..core.models import Card, CardFile
from . import manifest as manifests
from .layout import Layout, guarded, hash_file, hash_open, pull_lock, tree_size
from .manifest import Place, stamp_of
from .records import Record, Records
from .sources import PullEvent, Watch

YOUNG: Final = 3600.0
"""Seconds that a blob nobody refers to is kept: it may have been uploaded for a model to come."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a stored model; ``fix`` is what to do, ``digest`` the damaged blob's, "" where
    it is no blob."""

    model: str
    what: str
    fix: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of one model: all its files, those no other name shares, those that are not ours."""

    model: str
    size: int
    own: int
    in_place: int


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes of the store. ``previous``: kept for rollbacks only; ``unused``: no name refers to them;
    ``partial``: unfinished downloads. ``free``: what the disk has left."""

    models: tuple[Usage, ...]
    blobs: int
    previous: int
    unused: int
    partial: int
    free: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """Bytes freed, or to be freed, by kind."""

    previous: int
    unused: int
    partial: int

    @property
    def total(self) -> int:
        return self.previous + self.unused + self.partial


class Upkeep:
    """Looks after one store. Blocking."""

    def __init__(self, layout: Layout, records: Records) -> None:
        self._layout = layout
        self._records = records

    # -- verifying ----------------------------------------------------------------------------

    def verify(self, watch: Watch) -> list[Problem]:
        """Hash every file of every model; seconds per gigabyte. Raises StoreError, Cancelled."""
        problems: list[Problem] = []
        hashed: dict[str, str] = {}
        for path in self._layout.manifest_paths():
            label = "/".join(path.relative_to(self._layout.manifests).with_suffix("").parts)
            try:
                record = self._records.read(path)
            except StoreError as error:
                problems.append(Problem(label, error.message, "Remove the manifest or pull the model again."))
                continue
            if record is None:
                continue
            if record.alias is not None:
                if self._records.find(record.alias) is None:
                    fix = f"inhouse rm {record.named.name}"
                    problems.append(
                        Problem(record.named.name, f"follows '{record.alias}', which is gone", fix)
                    )
            elif record.card is not None:
                problems += self._damage(record.card, hashed, watch)
        return problems

    def _damage(self, card: Card, hashed: dict[str, str], watch: Watch) -> Iterator[Problem]:
        """What is wrong with the files of a card; each file is hashed once."""
        for file in card.files:
            what = self._wrong(file, hashed, watch)
            if what:
                fix = "inhouse verify --repair"
                if file.in_place:
                    fix = f"Put the file back, or: inhouse rm {card.name}"
                yield Problem(str(card.name), what, fix, "" if file.in_place else file.digest)

    def _wrong(self, file: CardFile, hashed: dict[str, str], watch: Watch) -> str:
        kind = "weights" if file.role in ("model", "weights") else file.role
        try:
            if os.stat(file.path).st_size != file.size:
                return f"the {kind} are missing or cut short"
        except OSError:
            return f"the {kind} are missing or cut short"
        if file.path not in hashed:
            with guarded("verifying weights"), open(file.path, "rb", buffering=0) as opened:
                hashed[file.path] = "sha256:" + hash_open(opened, _teller(file, watch))
        found = hashed[file.path]
        return (
            "" if found == file.digest else f"the {kind} have the digest {found}, {file.digest} was expected"
        )

    def is_sound(self, digest: str) -> bool:
        """Whether a blob is here and has its digest."""
        blob = self._layout.blob(digest)
        with guarded("verifying weights"):
            return blob.is_file() and f"sha256:{hash_file(blob)}" == digest

    @contextlib.contextmanager
    def set_aside(self, digest: str) -> Iterator[None]:
        """A damaged blob out of the way, so that a pull brings it anew; back again where none came."""
        blob = self._layout.blob(digest)
        with self._layout.workspace() as folder:
            aside = folder / blob.name
            with self._layout.lock(), guarded("setting weights aside"):
                if blob.exists():
                    blob.replace(aside)
            try:
                yield
            finally:
                with self._layout.lock(), guarded("putting weights back"):
                    if aside.exists() and not blob.exists():
                        aside.replace(blob)

    def check(self, card: Card) -> None:
        """Before a load: are the files still those that were verified? One ``stat`` each; a file that
        looks otherwise is hashed. Raises StoreError, DigestMismatch."""
        record = self._records.find(card.name)
        places = record.named.places if record and record.card and record.card.digest == card.digest else {}
        for file in card.files:
            place = places.get(file.digest, Place())
            with guarded("looking at the weights"):
                if place.stamp is not None and stamp_of(Path(file.path)) == place.stamp:
                    continue
                with open(file.path, "rb", buffering=0) as opened:
                    found = "sha256:" + hash_open(opened, lambda done: None)
            if found != file.digest:
                raise DigestMismatch(
                    f"A file of '{card.name}' was changed: it has the digest {found}, "
                    f"{file.digest} was expected.",
                    hint=f"Put it back, or pull it again: inhouse verify --repair; inhouse pull {card.name}",
                )
        if record is not None and record.card is not None and record.card.digest == card.digest:
            self._restamp(record)
        self._records.link(card)

    def _restamp(self, record: Record) -> None:
        """Remember what the verified files look like now, so that the next load need not hash them."""
        card = record.card
        if card is None:
            return
        places = {}
        for file in card.files:
            old = record.named.places.get(file.digest, Place())
            with guarded("looking at the weights"):
                places[file.digest] = Place(old.path, stamp_of(Path(file.path)))
        if places != record.named.places:
            with contextlib.suppress(StoreError, Conflict), self._layout.lock():
                path = self._layout.manifest(card.name)
                stat = path.stat()
                self._layout.write(path, manifests.replaced(record.named, places))
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    # -- space --------------------------------------------------------------------------------

    def disk(self) -> Disk:
        """How much is where. Raises StoreError."""
        cards = [card for card in self._records.cards() if not card.alias_of]
        shared = Counter(digest for card in cards for digest in {file.digest for file in card.files})
        usages = []
        for card in cards:
            ours = [file for file in card.files if not file.in_place]
            usages.append(
                Usage(
                    str(card.name),
                    card.size,
                    sum(file.size for file in ours if shared[file.digest] == 1),
                    sum(file.size for file in card.files if file.in_place),
                )
            )
        blobs = self._blobs()
        used = self._records.used()
        current = {file.digest for card in cards for file in card.files}
        return Disk(
            models=tuple(usages),
            blobs=sum(blobs.values()),
            previous=sum(size for digest, size in blobs.items() if digest in used - current),
            unused=sum(size for digest, size in blobs.items() if digest not in used),
            partial=tree_size(self._layout.partial),
            free=self._layout.free(),
        )

    def _blobs(self) -> dict[str, int]:
        found = {}
        for path in self._layout.blob_paths():
            with contextlib.suppress(OSError):
                found["sha256:" + path.name.removeprefix("sha256-")] = path.stat().st_size
        return found

    def prune(self, *, dry_run: bool = False, everything: bool = False) -> Pruned:
        """Delete earlier versions, blobs without a name and unfinished downloads that nobody works on.

        Blobs younger than an hour stay unless ``everything``. Raises StoreError while a manifest is
        unreadable: it may refer to any blob.
        """
        with self._layout.lock():
            current: set[str] = set()
            for path in self._layout.manifest_paths():
                current |= self._records.digests(self._records.read(path))
            before = self._records.used() - current
            sizes = {"previous": 0, "unused": 0}
            doomed = []
            for digest, size in self._blobs().items():
                kind = "previous" if digest in before else "unused"
                if digest in current or (kind == "unused" and self._is_young(digest) and not everything):
                    continue
                sizes[kind] += size
                doomed.append(digest)
            if not dry_run:
                for path in self._layout.previous_paths():
                    self._layout.drop(path)
                for digest in doomed:
                    with contextlib.suppress(StoreError):  # on Windows a file in use stays
                        self._layout.drop(self._layout.blob(digest))
                self._records.drop_views()
        return Pruned(sizes["previous"], sizes["unused"], self._prune_partial(dry_run=dry_run))

    def _is_young(self, digest: str) -> bool:
        with contextlib.suppress(OSError):
            return time.time() - self._layout.blob(digest).stat().st_mtime < YOUNG
        return False

    def _prune_partial(self, *, dry_run: bool) -> int:
        freed = 0
        folders = self._layout.partial.iterdir() if self._layout.partial.is_dir() else ()
        for folder in list(folders):
            if not folder.is_dir():
                continue
            with contextlib.suppress(Conflict, StoreError), self._layout.hold(pull_lock(folder), 0):
                freed += tree_size(folder)
                if not dry_run:
                    shutil.rmtree(folder, ignore_errors=True)
        return freed


def _teller(file: CardFile, watch: Watch) -> Callable[[int], None]:
    label = f"verifying {file.digest[7:19]}"

    def tell(done: int) -> None:
        watch.check()
        watch.say(PullEvent(label, file.digest, file.size, done))

    return tell


__all__ = ["Disk", "Problem", "Pruned", "Upkeep", "Usage"]
