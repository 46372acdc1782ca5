"""Manifests read, cached, written and removed: what names stand for, and which blobs are needed."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.errors import Conflict, ModelNotFound, StoreError
from ..core.models import Card, ModelName
from . import manifest as manifests
from .layout import Layout, guarded
from .manifest import Manifest, Named, Place

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """A manifest file: a model's (``card``) or an alias' (``alias``)."""

    named: Named
    card: Card | None
    alias: ModelName | None = None


def complete(card: Card) -> bool:
    """Whether all files are there in their full size; one ``stat`` each."""
    try:
        return all(os.stat(file.path).st_size == file.size for file in card.files)
    except OSError:
        return False


def short(name: ModelName) -> str:
    """A name as a person writes it."""
    return str(name).removesuffix(":latest")


class Records:
    """The manifests of one store. Blocking (small files). Raises StoreError."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._cache: dict[Path, tuple[manifests.Stamp, Record]] = {}

    # -- reading ------------------------------------------------------------------------------

    def read(self, path: Path) -> Record | None:
        """A manifest file, parsed once per change of it; None if there is none."""
        try:
            with path.open("rb") as file:
                facts = os.fstat(file.fileno())
                stamp = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
                cached = self._cache.get(path)
                if cached and cached[0] == stamp:
                    return cached[1]
                data = file.read(manifests.SIZE_CEILING)
        except (FileNotFoundError, NotADirectoryError):
            self._cache.pop(path, None)
            return None
        except OSError as error:
            raise StoreError("A manifest cannot be read.", detail=str(error)) from error
        record = self._parse(data, facts.st_mtime)
        name = ModelName.parse(record.named.name)
        if path not in (self.layout.manifest(name), self.layout.previous_manifest(name)):
            raise StoreError("A manifest lies under another model's name.", hint="Pull the model again.")
        self._cache[path] = (stamp, record)
        return record

    def _parse(self, data: bytes, modified_at: float) -> Record:
        named = manifests.open_file(data)
        if named.alias:
            return Record(named, None, ModelName.parse(named.alias))
        return Record(named, manifests.card_of(named, self.layout, modified_at))

    def find(self, name: ModelName) -> Record | None:
        """The record of a name, an alias followed. Raises StoreError if it is damaged."""
        record = self.read(self.layout.manifest(name))
        if record is not None and record.alias is not None:
            record = self.read(self.layout.manifest(record.alias))
        return record if record is not None and record.card is not None else None

    def get(self, name: ModelName) -> Card:
        """The card of a name in any case. Raises ModelNotFound, or StoreError if it is damaged."""
        record = self.find(name)
        card = record.card if record else None
        if card is None:
            raise ModelNotFound(short(name))
        if not complete(card):
            lost = any(file.in_place and not os.path.exists(file.path) for file in card.files)
            raise StoreError(
                f"A file of '{card.name}' is no longer where it was."
                if lost
                else f"The weights of '{card.name}' are missing or cut short.",
                hint=f"Pull it again: inhouse pull {card.name}",  # not its source: that may be a path
            )
        return card

    def cards(self) -> list[Card]:
        """Every complete model and alias, newest first."""
        found: dict[tuple[str, ...], Card] = {}
        aliases: list[tuple[ModelName, ModelName]] = []
        for path in self.layout.manifest_paths():
            try:
                record = self.read(path)
            except StoreError as error:
                log.warning("a manifest was skipped: %s %s", error.message, error.detail)
                continue
            if record and record.alias:
                aliases.append((ModelName.parse(record.named.name), record.alias))
            elif record and record.card and complete(record.card):
                found[record.card.name.key] = record.card
        followed = [
            replace(found[target.key], name=name, alias_of=str(target))
            for name, target in aliases
            if target.key in found
        ]
        return sorted((*found.values(), *followed), key=lambda card: (-card.modified_at, card.name))

    # -- changing; all under the layout's lock ------------------------------------------------

    def save(
        self, name: ModelName, manifest: Manifest, places: Mapping[str, Place], source: str = ""
    ) -> None:
        """Make a model visible: all its blobs are there. What the name stood for becomes its previous.

        Raises Conflict when a blob went away meanwhile: fetch it again.
        """
        data = manifests.encode(name, manifest, places, source)
        record = self._parse(data, 0.0)
        if record.card is None or not complete(record.card):
            raise Conflict("A file of the model went away while it was made.", hint="Try again.")
        self.link(record.card)
        self._replace(name, data)

    def _replace(self, name: ModelName, data: bytes) -> None:
        path, before = self.layout.manifest(name), self.layout.previous_manifest(name)
        unused: set[str] = set()
        with contextlib.suppress(StoreError, OSError):  # a damaged one is simply replaced
            kept = path.read_bytes()
            if kept == data:
                return
            old = self.read(path)
            if old and old.card and old.card.digest != manifests.digest_of(manifests.open_file(data)):
                with contextlib.suppress(StoreError):
                    unused = self.digests(self.read(before))
                self.layout.write(before, kept)
        self.layout.write(path, data)
        self.drop_unused(unused)

    def rollback(self, name: ModelName) -> Card:
        """Let a name stand for what it stood for before; again for the newer one.

        Raises ModelNotFound, Conflict when there is nothing to go back to.
        """
        path, before = self.layout.manifest(name), self.layout.previous_manifest(name)
        with self.layout.lock():
            record, old = self.read(path), self.read(before)
            if record is None:
                raise ModelNotFound(short(name))
            if old is None or old.card is None or not complete(old.card):
                raise Conflict(
                    f"'{short(name)}' has no earlier version here.",
                    hint="One is kept when a model is updated, until: inhouse prune",
                )
            with guarded("reading a manifest"):
                newer, older = path.read_bytes(), before.read_bytes()
            self.link(old.card)
            self.layout.write(path, older)
            self.layout.write(before, newer)
        return self.get(name)

    def link(self, card: Card) -> None:
        """Make the view of a model that needs one."""
        if Path(card.weights).is_relative_to(self.layout.views):
            roles = ("model",) if card.format == "gguf" else ("weights", "config")
            files = {file.file: file.path for file in card.files if file.role in roles}
            if card.format == "gguf":
                files = {os.path.basename(file): path for file, path in files.items()}
            self.layout.link(card.digest, files)

    def alias(self, name: ModelName, target: ModelName) -> ModelName:
        """Let a name follow another model; returns that model. Raises ModelNotFound, Conflict."""
        card = self.get(target)
        with self.layout.lock():
            self.check_alias(name, card.name)
            self.layout.write(self.layout.manifest(name), manifests.encode_alias(name, card.name))
        return card.name

    def check_alias(self, name: ModelName, target: ModelName) -> None:
        """Whether a name is free to follow a model. Raises Conflict."""
        if target.key == name.key:
            raise Conflict("A model cannot be an alias of itself.", hint="Choose another name.")
        old = self.read(self.layout.manifest(name))
        if old is not None and old.card is not None:
            raise Conflict(
                f"'{short(name)}' is a model of its own.",
                hint=f"Remove it first: inhouse rm {short(name)}",
            )

    def copy(self, src: ModelName, dst: ModelName) -> None:
        """Give a model a second name; it shares the weights. An existing ``dst`` is replaced."""
        card = self.get(src)
        source, target = self.layout.manifest(card.name), self.layout.manifest(dst)
        with self.layout.lock():
            with guarded("reading a manifest"):
                data = source.read_bytes()
            if source != target:
                self._replace(dst, manifests.rename(data, dst))

    def remove(self, name: ModelName) -> None:
        """Forget a name, its previous and the aliases that follow it; blobs nobody else needs go.

        Files of others stay where they are. Raises ModelNotFound.
        """
        path, before = self.layout.manifest(name), self.layout.previous_manifest(name)
        with self.layout.lock():
            with guarded("looking for a model"):
                if not path.exists():
                    raise ModelNotFound(short(name))
            unused: set[str] = set()
            self._drop_aliases_of(name)
            for file in (before, path):  # the name itself last: what fails before can be tried again
                with contextlib.suppress(StoreError):
                    unused |= self.digests(self.read(file))
                self.layout.drop(file)
            self.drop_unused(unused)
            self.drop_views()

    def _drop_aliases_of(self, name: ModelName) -> None:
        for path in self.layout.manifest_paths():
            record = None
            with contextlib.suppress(StoreError):
                record = self.read(path)
            if record and record.alias and record.alias.key == name.key:
                self.layout.drop(path)

    def drop_views(self) -> None:
        """Remove the links of models that are no more. Nothing while a manifest is unreadable."""
        if not self.layout.views.is_dir():
            return
        with contextlib.suppress(StoreError, OSError):
            records = [self.read(p) for p in (*self.layout.manifest_paths(), *self.layout.previous_paths())]
            needed = {self.layout.view(r.card.digest).name for r in records if r and r.card}
            for view in self.layout.views.iterdir():
                if view.name not in needed:
                    shutil.rmtree(view, ignore_errors=True)

    @staticmethod
    def digests(record: Record | None) -> set[str]:
        """The digests of the blobs that a record refers to; files of others, used in place, are none."""
        files = record.card.files if record and record.card else ()
        return {file.digest for file in files if not file.in_place}

    def used(self) -> set[str]:
        """Digests of blobs that any name, now or before, refers to. Raises StoreError if one is unreadable:
        it may refer to any blob."""
        found: set[str] = set()
        for path in (*self.layout.manifest_paths(), *self.layout.previous_paths()):
            found |= self.digests(self.read(path))
        return found

    def drop_unused(self, digests: Iterable[str]) -> int:
        """Delete those of some blobs that no name refers to. Returns the bytes that this freed."""
        wanted, freed = set(digests), 0
        if not wanted:
            return 0
        try:
            wanted -= self.used()
        except StoreError:
            return 0
        for digest in wanted:
            blob = self.layout.blob(digest)
            # On Windows a file in use stays; the next prune takes it.
            with contextlib.suppress(StoreError, OSError):
                size = blob.stat().st_size
                self.layout.drop(blob)
                freed += size
        return freed


__all__ = ["Record", "Records", "complete", "short"]
