"""The manifest: one JSON file per model name, ours, small, and enough to make a Card.

``{"name": "SmolLM2:latest", "manifest": {…}, "places": {…}}``. The digest of a model is the sha256 of
the inner object's bytes: two names of one model have one digest, wherever its files lie. ``places``
says, by digest, where a file that is not a blob of ours lies, and what it looked like when its bytes
were last verified; ``source`` is what was asked for, to ask again for something newer. An alias is
``{"name": "fast", "alias": "smollm2:135m"}``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any, Final, Literal, TypeAlias

import msgspec

from ..core.errors import InhouseError, StoreError
from ..core.models import Card, CardFile, Footprint, ModelName, Tuning
from .gguf_facts import Facts
from .layout import Layout
from .sources.base import Role

SIZE_CEILING: Final = 16 * 2**20

Stamp: TypeAlias = tuple[int, int, int]
"""Size, modification time in ns and inode of a file whose bytes were verified."""


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file: ``file`` is its name at the source, ``digest`` ``sha256:<hex>``."""

    role: Role
    file: str
    digest: str
    size: int
    scale: float = 1.0


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """``path`` is absolute and "" for a blob of ours."""

    path: str = ""
    stamp: Stamp | None = None


class Weights(msgspec.Struct, frozen=True):
    """The only file of a manifest of schema 1."""

    digest: str
    size: int
    file: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All of a model but where its files lie.

    ``origin``: a source text that brings it again, versions filled in; ``revision`` what stood behind
    it. ``template``: Jinja that replaces the one inside the weights; ``written_template`` what it was
    translated from. ``parent``: the model it was made from. ``projector``: metadata for display.
    """

    schema: Literal[1, 2] = 1
    parts: tuple[Part, ...] = ()
    weights: Weights | None = None
    origin: str
    facts: Facts
    revision: str = ""
    licence: str = ""
    system: str = ""
    template: str = ""
    written_template: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    defaults: dict[str, Any] = {}
    tuning: Tuning = Tuning()
    labels: tuple[str, ...] = ()
    parent: str = ""
    capabilities: tuple[str, ...] = ()
    projector: dict[str, Any] = {}

    def files(self) -> tuple[Part, ...]:
        """The parts, whatever the schema."""
        if self.weights is not None:
            return (Part("model", self.weights.file, self.weights.digest, self.weights.size),)
        return self.parts

    @property
    def format(self) -> str:
        return "gguf" if any(part.role == "model" for part in self.files()) else "safetensors"


class Named(msgspec.Struct, omit_defaults=True):
    """The file as a whole."""

    name: str
    manifest: msgspec.Raw = msgspec.Raw(b"null")
    places: dict[str, Place] = {}
    alias: str = ""
    source: str = ""


def stamp_of(path: Path) -> Stamp:
    """What a file looks like now. Raises OSError."""
    facts = os.stat(path)
    return (facts.st_size, facts.st_mtime_ns, facts.st_ino)


def pack(manifest: Manifest) -> bytes:
    """The inner bytes, whose sha256 is the model's digest. JSON has no ``inf``: -1 is for ever there."""
    if manifest.tuning.keep_alive == math.inf:
        tuning = dataclasses.replace(manifest.tuning, keep_alive=-1.0)
        manifest = msgspec.structs.replace(manifest, tuning=tuning)
    return msgspec.json.encode(manifest)


def encode(
    name: ModelName, manifest: Manifest, places: Mapping[str, Place] | None = None, source: str = ""
) -> bytes:
    """The bytes of a manifest file."""
    inner = msgspec.Raw(pack(manifest))
    return msgspec.json.encode(Named(str(name), inner, dict(places or {}), source=source))


def encode_alias(name: ModelName, target: ModelName) -> bytes:
    """The bytes of an alias file."""
    return msgspec.json.encode(Named(str(name), alias=str(target)))


def replaced(named: Named, places: Mapping[str, Place]) -> bytes:
    """The bytes of the same manifest with other places."""
    return msgspec.json.encode(msgspec.structs.replace(named, places=dict(places)))


def open_file(data: bytes) -> Named:
    """The outer object. Raises StoreError when the bytes are not a manifest of ours."""
    try:
        return msgspec.json.decode(data, type=Named)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise _unreadable(error) from error


def rename(data: bytes, name: ModelName) -> bytes:
    """The same manifest under another name; its digest stays."""
    return msgspec.json.encode(msgspec.structs.replace(open_file(data), name=str(name)))


def _unreadable(error: Exception) -> StoreError:
    return StoreError("A manifest cannot be read.", hint="Pull the model again.", detail=str(error)[:500])


def read(named: Named) -> Manifest:
    """The inner object. Raises StoreError."""
    try:
        manifest = msgspec.json.decode(named.manifest, type=Manifest)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise _unreadable(error) from error
    if not manifest.files():
        raise _unreadable(ValueError("no files"))
    if not all(_stays_inside(part.file) for part in manifest.files()):
        raise _unreadable(ValueError("a file's name leads elsewhere"))
    return manifest


def _stays_inside(file: str) -> bool:
    """Whether a file's name can only be one below the folder it is put into: views are made by it."""
    windows = PureWindowsPath(file)
    drive = windows.drive if sys.platform == "win32" else ""
    return bool(file) and "\0" not in file and not (windows.root or drive) and ".." not in windows.parts


def digest_of(named: Named) -> str:
    """The model's digest: 64 hex digits."""
    return hashlib.sha256(named.manifest).hexdigest()


def _files(manifest: Manifest, named: Named, layout: Layout) -> tuple[CardFile, ...]:
    found = []
    for part in manifest.files():
        blob = layout.blob(part.digest)
        place = named.places.get(part.digest)
        path = place.path if place and place.path else str(blob)
        found.append(
            CardFile(
                part.role, path, part.file, part.digest, part.size, part.scale, in_place=path != str(blob)
            )
        )
    return tuple(found)


def weights_path(files: Iterable[CardFile], view: Path) -> str:
    """What an engine is handed: the file, the first part of a split model, or a safetensors folder.

    A model of several files needs them side by side under their own names: in place they already
    are; blobs get a view, a folder of links.
    """
    models = [file for file in files if file.role == "model"]
    if len(models) == 1:
        return models[0].path
    if models:
        folders = {os.path.dirname(file.path) for file in models}
        named = all(os.path.basename(file.path) == os.path.basename(file.file) for file in models)
        if len(folders) == 1 and named:
            return models[0].path
        return str(view / os.path.basename(models[0].file))
    return str(view)


def card_of(named: Named, layout: Layout, modified_at: float) -> Card:
    """A Card from a manifest file. Raises StoreError when it is not a manifest of ours."""
    manifest = read(named)
    digest = digest_of(named)
    try:
        name = ModelName.parse(named.name)
        files = _files(manifest, named, layout)
    except InhouseError as error:
        raise _unreadable(error) from error
    facts = manifest.facts
    size = sum(file.size for file in files)
    tuning = manifest.tuning
    if tuning.keep_alive is not None and tuning.keep_alive < 0:
        tuning = dataclasses.replace(tuning, keep_alive=math.inf)
    return Card(
        name=name,
        digest=digest,
        weights=weights_path(files, layout.view(digest)),
        weights_digest=files[0].digest,
        size=size,
        footprint=Footprint(sum(f.size for f in files if f.role in ("model", "weights")), facts.kv_per_token),
        capabilities=frozenset(manifest.capabilities or facts.capabilities),
        format=manifest.format,
        family=facts.architecture,
        parameters=facts.parameters,
        quantization=facts.quantization,
        context_length=facts.context_length,
        embedding_length=facts.embedding_length,
        vocabulary=facts.vocabulary,
        template=manifest.template or facts.template,
        own_template=bool(manifest.template),
        control_tokens=facts.control_tokens,
        licence=manifest.licence,
        system=manifest.system,
        messages=manifest.messages,
        origin=manifest.origin,
        revision=manifest.revision,
        parent=manifest.parent,
        modified_at=modified_at,
        defaults=manifest.defaults,
        tuning=tuning,
        labels=manifest.labels,
        files=files,
        metadata=facts.metadata,
        projector_metadata=manifest.projector,
    )
