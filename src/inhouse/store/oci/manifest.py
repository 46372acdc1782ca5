"""Bytes that a registry sends as a manifest, held against the grammar before anything is believed.

Everything that a manifest can get wrong is a SourceFailed that names it. A digest is text of one
grammar (``layout.digest_hex``) and never becomes a path here.
Format: https://github.com/opencontainers/image-spec/blob/main/manifest.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ...core.errors import BadRequest, SourceFailed
from ..layout import digest_hex
from . import media

CEILING: Final = 4 * 2**20
"""Bytes of a manifest; what registries themselves accept."""
LAYERS: Final = 10_000
SIZE: Final = 2**44
"""Bytes of one layer (16 TiB)."""
_TEXT: Final = 4096
_HINT: Final = "The registry or the model in it is damaged or hostile; nothing was kept."


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob as a manifest names it. ``digest`` is ``sha256:<64 hex>``, ``size`` bytes."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hex(self) -> str:
        """The 64 hex digits."""
        return digest_hex(self.digest)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model is made of. ``config`` is None where there is none."""

    layers: tuple[Descriptor, ...]
    config: Descriptor | None = None
    artifact_type: str = ""


@dataclass(frozen=True, slots=True)
class Index:
    """A choice of manifests."""

    manifests: tuple[Descriptor, ...]


def bad(what: str) -> SourceFailed:
    """The error of a manifest that breaks the rules."""
    return SourceFailed(f"The manifest is not valid: {what}.", hint=_HINT)


def parse(body: bytes) -> Manifest | Index:
    """A manifest or an index of manifests. Raises SourceFailed naming what is wrong."""
    if len(body) > CEILING:
        raise bad(f"it is larger than {CEILING} bytes")
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise bad("it is not JSON") from error
    if not isinstance(data, dict):
        raise bad("it is not an object")
    version = data.get("schemaVersion")
    if version != 2 or isinstance(version, bool):
        raise bad("its schemaVersion is not 2")
    kind = _text(data, "mediaType", "the manifest")
    if kind in media.INDEXES or (not kind and "manifests" in data and "layers" not in data):
        return Index(_list(data, "manifests"))
    if kind and kind not in media.MANIFESTS:
        raise bad("its mediaType is not that of a manifest")
    layers = _list(data, "layers")
    if not layers:
        raise bad("it has no layers")
    return Manifest(layers, _config(data.get("config")), _text(data, "artifactType", "the manifest"))


def _config(data: object) -> Descriptor | None:
    """The config's descriptor; older Ollama manifests have an empty one instead of none."""
    if data is None or (isinstance(data, dict) and not data.get("digest")):
        return None
    return _descriptor(data, "config")


def _list(data: Mapping[str, Any], key: str) -> tuple[Descriptor, ...]:
    items = data.get(key)
    if not isinstance(items, list):
        raise bad(f"'{key}' is not a list")
    if len(items) > LAYERS:
        raise bad(f"it has {len(items)} {key}, more than {LAYERS}")
    return tuple(_descriptor(item, f"{key}[{i}]") for i, item in enumerate(items))


def _descriptor(data: object, where: str) -> Descriptor:
    if not isinstance(data, dict):
        raise bad(f"{where} is not an object")
    digest = data.get("digest")
    try:
        hexes = digest_hex(digest if isinstance(digest, str) else "")
    except BadRequest as error:
        raise bad(f"{where} has no digest of the form sha256:<64 hex digits>") from error
    size = data.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= SIZE:
        raise bad(f"{where} (sha256:{hexes[:12]}…) has an impossible size")
    return Descriptor(
        _text(data, "mediaType", where),
        f"sha256:{hexes}",
        size,
        _text(data, "artifactType", where),
        _annotations(data.get("annotations"), where),
        _platform(data.get("platform"), where),
    )


def _text(data: Mapping[str, Any], key: str, where: str) -> str:
    value = data.get(key, "")
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _TEXT:
        raise bad(f"'{key}' of {where} is not a short text")
    return value


def _annotations(data: object, where: str) -> dict[str, str]:
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(v, str) for v in data.values()):
        raise bad(f"the annotations of {where} are not texts")
    return data


def _platform(data: object, where: str) -> dict[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise bad(f"the platform of {where} is not an object")
    return data


def choose(index: Index) -> tuple[Descriptor, ...]:
    """The manifests of an index that can be a model's, likeliest first. Raises SourceFailed.

    Attestations (platform ``unknown``) and manifests about others are left out; a declared model
    artifact comes first.
    """
    found = [
        item
        for item in index.manifests
        if (item.media_type in media.MANIFESTS or not item.media_type)
        and item.platform.get("os") != "unknown"
        and "vnd.docker.reference.type" not in item.annotations
    ]
    if not found:
        raise bad("the index names no manifest of a model")
    return tuple(sorted(found, key=lambda item: not _is_model(item.artifact_type)))


def _is_model(artifact_type: str) -> bool:
    return artifact_type.startswith((media.CNCF, media.DOCKER_AI, media.OLLAMA))
