"""The shipped list of models that a bare name can pull. Data in ``catalogue.toml``."""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final

from ..core.errors import ModelNotFound
from ..core.models import DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, ModelName
from . import sources
from .sources import Asset, Listing, wheels

DEFAULT_MODEL: Final = "smollm2"
SHOWN: Final = 12


@dataclass(frozen=True, slots=True)
class Pinned:
    """One place to get a model from. ``sha256`` (64 hex) and ``size`` of its file are "" and 0 when
    unknown. ``listing`` is there when nothing has to be asked to know the files."""

    text: str
    sha256: str = ""
    size: int = 0
    listing: Listing | None = None

    @property
    def kind(self) -> str:
        return sources.kind_of(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model of the catalogue. ``tags``: the first is its own, "latest" marks the default.

    ``parameters`` and ``context_length`` are 0 when not recorded. ``download``: bytes of the first
    source's archives, 0 when unknown.
    """

    model: str
    tags: tuple[str, ...]
    description: str
    licence: str
    capabilities: tuple[str, ...]
    sources: tuple[Pinned, ...]
    parameters: int = 0
    context_length: int = 0
    quantization: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``qwen2.5-coder:0.5b``."""
        return f"{self.model}:{self.tags[0]}"

    @property
    def sha256(self) -> str:
        return self.sources[0].sha256

    @property
    def size(self) -> int:
        return self.sources[0].size

    @property
    def download(self) -> int:
        first = self.sources[0]
        locator = first.listing.assets[0].locator if first.listing else ()
        return sum(part.size for part in locator) or first.size


def joined(parts: tuple[wheels.Wheel, ...], file: str, sha256: str, size: int) -> Pinned:
    """A file joined from the members of packages, all known beforehand."""
    asset: Asset = wheels.asset_of(parts, file, sha256, size)
    text = wheels.origin_of(parts)
    return Pinned(text, sha256, size, Listing((asset,), text))


def _pinned(raw: Mapping[str, Any]) -> Pinned:
    sha256, size = raw.get("sha256", ""), raw.get("size", 0)
    if raw["from"] != "pypi:":
        return Pinned(raw["from"], sha256, size)
    pairs = zip(raw["parts"], raw["sizes"], strict=True)
    return joined(tuple(wheels.read_wheel(text, n) for text, n in pairs), raw["file"], sha256, size)


def _entry(raw: Mapping[str, Any]) -> Entry:
    return Entry(
        model=raw["name"],
        tags=tuple(raw["tags"]),
        description=raw["description"],
        licence=raw["licence"],
        capabilities=tuple(raw["capabilities"]),
        sources=tuple(_pinned(source) for source in raw["source"]),
        parameters=raw.get("parameters", 0),
        context_length=raw.get("context_length", 0),
        quantization=raw.get("quantization", ""),
        defaults=raw.get("defaults", {}),
    )


@functools.cache
def entries() -> tuple[Entry, ...]:
    """All models of the catalogue, in its order."""
    text = resources.files(__package__).joinpath("catalogue.toml").read_text("utf-8")
    return tuple(_entry(raw) for raw in tomllib.loads(text)["model"])


def find(name: ModelName) -> Entry | None:
    """The entry of a name, if the catalogue has it."""
    host, namespace, model, tag = name.key
    if (host, namespace) != (DEFAULT_HOST, DEFAULT_NAMESPACE):
        return None
    return next((e for e in entries() if e.model == model and tag in e.tags), None)


def default_tag(name: ModelName) -> ModelName | None:
    """``smollm2:latest`` -> ``smollm2:135m``: the tag that "latest" stands for in the catalogue."""
    entry = find(name) if name.tag.lower() == DEFAULT_TAG else None
    return ModelName.parse(entry.name) if entry else None


def not_found(text: str) -> ModelNotFound:
    """The error for a name that is neither here nor in the catalogue; its hint helps on."""
    known = list(dict.fromkeys(name for e in entries() for name in (e.model, e.name)))
    error = ModelNotFound(text)
    close = difflib.get_close_matches(text.lower(), known, n=3, cutoff=0.6)
    models = list(dict.fromkeys(e.model for e in entries()))
    more = f" and {len(models) - SHOWN} more" if len(models) > SHOWN else ""
    names = ", ".join(close) if close else ", ".join(models[:SHOWN]) + more
    lead = "Did you mean" if close else "The catalogue has"
    error.hint = (
        f"{lead} {names}{'?' if close else '.'} Others come with a source: hf.co/org/repo, ollama:name, "
        "oci://registry/repo, https://host/file.gguf, pypi:package or a path."
    )
    return error
