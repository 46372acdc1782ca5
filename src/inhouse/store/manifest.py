"""The manifest: one JSON file per model name, ours, small, and enough to make a Card.

``{"name": "SmolLM2:latest", "manifest": {…}}``. The digest of a model is the sha256 of the inner
object's bytes, so that two names of one model have one digest.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

import msgspec

from ..core.errors import InhouseError, StoreError
from ..core.models import Card, Footprint, ModelName
from .gguf_facts import Facts
from .layout import Layout

SIZE_CEILING: Final = 16 * 2**20


class Weights(msgspec.Struct, frozen=True):
    """``digest`` is ``sha256:<hex>``, ``file`` the name the file had at its source."""

    digest: str
    size: int
    file: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """``origin``: the source text that was pulled, versions filled in."""

    schema: Literal[1] = 1
    weights: Weights
    origin: str
    facts: Facts
    licence: str = ""
    system: str = ""
    defaults: dict[str, Any] = {}


class _Named(msgspec.Struct):
    name: str
    manifest: msgspec.Raw


def encode(name: ModelName, manifest: Manifest) -> bytes:
    """The bytes of a manifest file."""
    return msgspec.json.encode(_Named(str(name), msgspec.Raw(msgspec.json.encode(manifest))))


def rename(data: bytes, name: ModelName) -> bytes:
    """The same manifest under another name; its digest stays."""
    return msgspec.json.encode(_Named(str(name), msgspec.json.decode(data, type=_Named).manifest))


def decode(data: bytes, layout: Layout, modified_at: float) -> tuple[Card, Manifest]:
    """A Card from a manifest file's bytes. Raises StoreError when they are not a manifest of ours."""
    try:
        named = msgspec.json.decode(data, type=_Named)
        manifest = msgspec.json.decode(named.manifest, type=Manifest)
        name = ModelName.parse(named.name)
        weights = layout.blob(manifest.weights.digest)
    except (msgspec.MsgspecError, UnicodeError, InhouseError) as error:
        raise StoreError(
            "A manifest cannot be read.", hint="Pull the model again.", detail=str(error)[:500]
        ) from error
    facts = manifest.facts
    card = Card(
        name=name,
        digest=hashlib.sha256(named.manifest).hexdigest(),
        weights=str(weights),
        weights_digest=manifest.weights.digest,
        size=manifest.weights.size,
        footprint=Footprint(manifest.weights.size, facts.kv_per_token),
        capabilities=frozenset(facts.capabilities),
        family=facts.architecture,
        parameters=facts.parameters,
        quantization=facts.quantization,
        context_length=facts.context_length,
        embedding_length=facts.embedding_length,
        vocabulary=facts.vocabulary,
        template=facts.template,
        control_tokens=facts.control_tokens,
        licence=manifest.licence,
        system=manifest.system,
        origin=manifest.origin,
        modified_at=modified_at,
        defaults=manifest.defaults,
        metadata=facts.metadata,
    )
    return card, manifest
