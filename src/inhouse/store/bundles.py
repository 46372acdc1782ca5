"""Sealed bundles: models in one file, for machines without a network.

A bundle is an uncompressed tar archive: first ``inhouse-bundle-<seal>.json``, the index, then
``blobs/sha256-<hex>``, each file once, in the order of the index. The seal is the sha256 of the index,
which names the digest of everything else; headers and padding are always the same bytes. So a changed
byte is noticed wherever it is, and whoever knows the seal from elsewhere can tell any other bundle.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Generator
from pathlib import Path
from typing import Final, Protocol

import msgspec

from ..core.errors import BadRequest, DigestMismatch, InhouseError
from ..core.models import Card, CardFile, ModelName
from . import manifest as manifests
from .fetching import Held
from .layout import Layout, guarded
from .making import Making, manifest_of
from .manifest import Part, Place, stamp_of
from .records import Records
from .sources import PullEvent, Watch

INDEX_CEILING: Final = 64 * 2**20
BLOCK: Final = 512
CHUNK: Final = 2**20
FORMAT: Final = 1
TRUSTED: Final = ("architecture", "parameters", "context_length", "kv_per_token", "vocabulary", "template")
"""Facts that a load relies on: they must be what the weights themselves say."""

_INDEX = re.compile(r"inhouse-bundle-([0-9a-f]{64})\.json\Z", re.ASCII)
_MEMBER = re.compile(r"blobs/sha256-([0-9a-f]{64})\Z", re.ASCII)


class File(msgspec.Struct, frozen=True):
    digest: str
    size: int


class Model(msgspec.Struct, frozen=True):
    """``manifest`` is the inner object of a manifest file, as text: its bytes make the digest."""

    name: str
    manifest: str
    source: str = ""


class Index(msgspec.Struct, frozen=True):
    inhouse_bundle: int
    models: tuple[Model, ...]
    files: tuple[File, ...]


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o444, 0
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return b"\0" * (-size % BLOCK)


class Export:
    """A bundle to be written: ``size`` in bytes and ``seal`` (64 hex) are known beforehand."""

    def __init__(self, records: Records, cards: list[Card]) -> None:
        models: list[Model] = []
        files: dict[str, CardFile] = {}
        for card in cards:
            record = records.find(card.name)
            if record is None or record.card is None:
                continue
            models.append(Model(str(card.name), bytes(record.named.manifest).decode(), record.named.source))
            files |= {file.digest: file for file in card.files}
        self._files = tuple(files.values())
        index = Index(FORMAT, tuple(models), tuple(File(f.digest, f.size) for f in self._files))
        self._index = msgspec.json.encode(index)
        self.seal = hashlib.sha256(self._index).hexdigest()
        self.size = sum(BLOCK + n + -n % BLOCK for n in (len(self._index), *(f.size for f in self._files)))
        self.size += 2 * BLOCK

    def chunks(self) -> Generator[bytes, None, None]:
        """The bundle's bytes; every file is hashed on the way. Raises DigestMismatch, StoreError."""
        yield _header(f"inhouse-bundle-{self.seal}.json", len(self._index)) + self._index
        yield _padding(len(self._index))
        for file in self._files:
            yield _header(f"blobs/sha256-{file.digest[7:]}", file.size)
            digest, left = hashlib.sha256(), file.size
            with guarded("reading weights"), open(file.path, "rb", buffering=0) as source:
                while left and (chunk := source.read(min(CHUNK, left))):
                    digest.update(chunk)
                    left -= len(chunk)
                    yield chunk
            if left or f"sha256:{digest.hexdigest()}" != file.digest:
                raise DigestMismatch(
                    f"A file does not have the digest {file.digest} any more.",
                    hint="See what is wrong: inhouse verify",
                )
            yield _padding(file.size)
        yield b"\0" * (2 * BLOCK)


class Import:
    """Reads a bundle from a stream of bytes; blocking."""

    def __init__(self, layout: Layout, records: Records) -> None:
        self._layout = layout
        self._records = records

    def run(self, stream: Readable, watch: Watch, *, seal: str = "") -> list[Card]:
        """Store all models of a bundle; each becomes visible whole. ``seal``: refuse any other.

        Raises BadRequest (not a bundle, or cut short), DigestMismatch, NoSpace.
        """
        self._layout.prepare()
        index, found = self._index(stream)
        if seal and found != seal:
            raise DigestMismatch(
                f"The bundle's seal is {found}, {seal} was expected.", hint="It is not the bundle you mean."
            )
        self._layout.need(
            sum(f.size for f in index.files if not self._layout.has(f.digest)), "The bundle needs"
        )
        temps: dict[str, Path] = {}
        with self._layout.workspace() as folder:
            for file in index.files:
                temps[file.digest] = self._bring(stream, file, folder, watch)
            if _exactly(stream, 2 * BLOCK) != b"\0" * (2 * BLOCK) or stream.read(1):
                raise _damaged("its end is not where it should be")
            for model in index.models:
                self._check(model, temps)
            return self._keep(index, temps, watch)

    def _index(self, stream: Readable) -> tuple[Index, str]:
        name, size = _member(stream)
        match = _INDEX.match(name)
        if not match or size > INDEX_CEILING:
            raise _damaged("it does not begin with its index")
        data = _exactly(stream, size)
        _pass_padding(stream, size)
        seal = hashlib.sha256(data).hexdigest()
        if seal != match[1]:
            raise _damaged("its index is not what it was")
        try:
            index = msgspec.json.decode(data, type=Index)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise _damaged("its index cannot be read") from error
        if index.inhouse_bundle != FORMAT:
            raise BadRequest(
                f"The bundle has the format {index.inhouse_bundle}, this version reads {FORMAT}.",
                hint="Update Inhouse.",
            )
        return index, seal

    @staticmethod
    def _bring(stream: Readable, file: File, folder: Path, watch: Watch) -> Path:
        """One file into a folder, hashed."""
        name, size = _member(stream)
        match = _MEMBER.match(name)
        temp = folder / (match[1] if match else "")
        if not match or f"sha256:{match[1]}" != file.digest or size != file.size or temp.exists():
            raise _damaged("its files are not those of its index")
        digest, done, label = hashlib.sha256(), 0, f"importing {match[1][:12]}"
        with guarded("storing weights"), temp.open("xb") as out:
            while done < size:
                watch.check()
                chunk = _exactly(stream, min(CHUNK, size - done))
                digest.update(chunk)
                out.write(chunk)
                done += len(chunk)
                watch.say(PullEvent(label, file.digest, size, done))
            out.flush()
            os.fsync(out.fileno())
        if digest.hexdigest() != match[1]:
            raise DigestMismatch(
                f"A file of the bundle is sha256:{digest.hexdigest()}, {file.digest} was expected.",
                hint="The bundle is damaged; nothing of it was kept. Copy it again.",
            )
        _pass_padding(stream, size)
        return temp

    @staticmethod
    def _check(model: Model, temps: dict[str, Path]) -> None:
        """The bytes must be what the manifest says of them: a bundle is not believed, it is read."""
        named = manifests.Named(model.name, msgspec.Raw(model.manifest.encode()), source=model.source)
        try:
            ModelName.parse(model.name)
            manifest = manifests.read(named)
            parts = manifest.files()
            held = [_held(part, temps[part.digest]) for part in parts]
            whole = all(part.size == temps[part.digest].stat().st_size for part in parts)
        except (InhouseError, KeyError) as error:
            raise _damaged("a manifest in it is not sound") from error
        if not whole:
            raise _damaged("a manifest in it gives a file another size")
        found = manifest_of(held, Making(origin="")).facts  # adapters and projectors are looked at as well
        if any(getattr(found, key) != getattr(manifest.facts, key) for key in TRUSTED):
            raise _damaged("a manifest in it does not describe its weights")

    def _keep(self, index: Index, temps: dict[str, Path], watch: Watch) -> list[Card]:
        watch.check()
        watch.say(PullEvent("writing manifest"))
        names = []
        with self._layout.lock():
            for digest, temp in temps.items():
                if not self._layout.has(digest):
                    self._layout.adopt(temp, digest)
            for model in index.models:
                named = manifests.Named(model.name, msgspec.Raw(model.manifest.encode()))
                manifest, name = manifests.read(named), ModelName.parse(model.name)
                with guarded("looking at the weights"):
                    places = {
                        p.digest: Place("", stamp_of(self._layout.blob(p.digest))) for p in manifest.files()
                    }
                self._records.save(name, manifest, places, model.source)
                names.append(name)
        return [self._records.get(name) for name in names]


def _held(part: Part, path: Path) -> Held:
    return Held(part, Place(), path)


def _damaged(why: str) -> BadRequest:
    return BadRequest(f"That is no whole bundle: {why}.", hint="Nothing of it was kept. Copy it again.")


def _exactly(stream: Readable, size: int) -> bytes:
    """So many bytes. Raises BadRequest when the stream ends before."""
    pieces, left = [], size
    while left:
        piece = stream.read(left)
        if not piece:
            raise _damaged("it is cut short")
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _pass_padding(stream: Readable, size: int) -> None:
    """Read past what fills up the last block of so many bytes."""
    if _exactly(stream, -size % BLOCK).strip(b"\0"):
        raise _damaged("there is something between its files")


def _member(stream: Readable) -> tuple[str, int]:
    """Name and size of the next member: a plain file with a header as we write it, to the byte."""
    head = _exactly(stream, BLOCK)
    try:
        info = tarfile.TarInfo.frombuf(head, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeError) as error:
        raise _damaged("it is not an archive") from error
    if info.type != tarfile.REGTYPE or info.size < 0 or _header(info.name, info.size) != head:
        raise _damaged("it holds something that is no file of ours")
    return info.name, info.size


__all__ = ["Export", "Import"]
