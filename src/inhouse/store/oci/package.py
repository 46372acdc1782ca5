"""A stored model as what a registry holds: blobs, and the manifest that names them.

Ollama's form is what its own client pushes; a Jinja template, which it does not know, travels in
Docker's layer type for it. The OCI form is a ModelPack with a file path on every layer, so that it can
also be mounted as a volume. Both are read back by ``layers`` to the same files and texts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ...core.errors import Conflict, Unsupported
from ...core.models import Card, CardFile
from ..layout import digest_hex
from ..sources.base import Texts
from . import media, texts
from .media import Meaning
from .names import Dialect

_OLLAMA_TYPES: Final = {
    "model": media.OLLAMA + "model",
    "projector": media.OLLAMA + "projector",
    "adapter": media.OLLAMA + "adapter",
    "draft": media.OLLAMA + "draft",
    "template": media.OLLAMA + "template",
    "jinja": media.JINJA,
    "system": media.OLLAMA + "system",
    "params": media.OLLAMA + "params",
    "messages": media.OLLAMA + "messages",
    "licence": media.OLLAMA + "license",
}
_TEXT_FILES: Final[dict[Meaning, str]] = {
    "template": "template.gotmpl",
    "jinja": "chat_template.jinja",
    "system": "system.txt",
    "params": "params.json",
    "messages": "messages.json",
    "licence": "LICENSE",
}


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes to push, from a file (``path``) or from memory (``data``)."""

    digest: str
    size: int
    path: Path | None = None
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Package:
    """What goes up: ``blobs`` in order, then ``manifest``, whose type is ``media_type``."""

    blobs: tuple[Blob, ...]
    manifest: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class _Layer:
    blob: Blob
    media_type: str
    annotations: Mapping[str, str] = field(default_factory=dict)

    def descriptor(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.blob.digest,
            "size": self.blob.size,
        }
        return out | ({"annotations": dict(self.annotations)} if self.annotations else {})


def build(card: Card, said: Texts, dialect: Dialect) -> Package:
    """The model in a dialect's form; the same model always makes the same bytes.

    Raises Unsupported (the form cannot hold it), Conflict (it has no files).
    """
    if not card.files:
        raise Conflict("That model has no files to push.", hint="Pull or create it again.")
    return _ollama(card, said) if dialect == "ollama" else _modelpack(card, said)


def _dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _blob(data: bytes) -> Blob:
    return Blob("sha256:" + hashlib.sha256(data).hexdigest(), len(data), data=data)


def _file(file: CardFile) -> Blob:
    return Blob(f"sha256:{digest_hex(file.digest)}", file.size, Path(file.path))


def _scaled(file: CardFile) -> dict[str, str]:
    return {media.SCALE: repr(file.scale)} if file.scale != 1 else {}


def _ollama(card: Card, said: Texts) -> Package:
    layers = []
    for file in card.files:
        if file.role not in _OLLAMA_TYPES:
            raise Unsupported(
                "Ollama's registries hold GGUF models only; this one has safetensors files.",
                hint="Push it as a ModelPack: inhouse push NAME oci://host/repository:tag",
                param="model",
            )
        layers.append(_Layer(_file(file), _OLLAMA_TYPES[file.role], _scaled(file)))
    layers += [_Layer(_blob(data), _OLLAMA_TYPES[meaning]) for meaning, data in texts.write(said)]
    families = [family for family in (card.family, "clip" if card.of_role("projector") else "") if family]
    config = {
        "model_format": card.format,
        "model_family": card.family,
        "model_families": families,
        "model_type": card.parameter_size,
        "file_type": card.quantization,
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer.blob.digest for layer in layers]},
    }
    return _package(layers, config, media.OLLAMA_CONFIG, media.DOCKER_MANIFEST)


def _modelpack(card: Card, said: Texts) -> Package:
    layers = [_Layer(_file(file), _weight_type(file), _annotations(file)) for file in card.files]
    taken = {file.file for file in card.files}
    for meaning, data in texts.write(said):
        name = _TEXT_FILES[meaning]
        path = f"inhouse/{name}" if name in taken else name
        kind = media.CNCF_DOC if meaning == "licence" else _OLLAMA_TYPES[meaning]
        layers.append(_Layer(_blob(data), kind, _paths(path)))
    config = {
        "descriptor": {"family": card.family, "name": card.name.model},
        "config": {
            "architecture": card.family,
            "format": card.format,
            "paramSize": card.parameter_size,
            "quantization": card.quantization,
        },
        "modelfs": {"type": "layers", "diffIds": [layer.blob.digest for layer in layers]},
    }
    artifact = {"artifactType": media.CNCF_ARTIFACT}
    return _package(layers, config, media.CNCF_CONFIG, media.OCI_MANIFEST, artifact)


def _weight_type(file: CardFile) -> str:
    return media.CNCF_WEIGHT_CONFIG if file.role == "config" else media.CNCF_WEIGHT


def _paths(path: str) -> dict[str, str]:
    return {media.FILEPATH: path, media.TITLE: path}


def _annotations(file: CardFile) -> dict[str, str]:
    role = {media.ROLE: file.role} if file.role in ("projector", "adapter", "draft") else {}
    return _paths(file.file) | role | _scaled(file)


def _package(
    layers: list[_Layer],
    config: Mapping[str, Any],
    config_type: str,
    media_type: str,
    more: Mapping[str, Any] | None = None,
) -> Package:
    blob = _blob(_dumps(config))
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        **(more or {}),
        "config": _Layer(blob, config_type).descriptor(),
        "layers": [layer.descriptor() for layer in layers],
    }
    blobs = {layer.blob.digest: layer.blob for layer in layers} | {blob.digest: blob}
    return Package(tuple(blobs.values()), _dumps(manifest), media_type)
