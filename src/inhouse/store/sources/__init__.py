"""Where models come from: one file per kind of source, one line in the tables here."""

from __future__ import annotations

import re
from typing import Final

from ...core.errors import BadRequest
from ...core.models import ModelName
from . import buckets, hub, local, modelscope, pypi, registry, web
from .base import Asset, Got, Listing, Policy, PullEvent, Ref, Role, Source, Texts, Throttle, Watch

SOURCES: Final[dict[str, Source]] = {
    "pypi": pypi.PyPI(),
    "hf": hub.Hub(),
    "registry": registry.Registry(),
    "web": web.Web(),
    "modelscope": modelscope.ModelScope(),
    "s3": buckets.Buckets(),
    "file": local.Local(),
}

PREFIXES: Final = {
    "pypi:": "pypi",
    "hf:": "hf",
    "hf.co/": "hf",
    "huggingface.co/": "hf",
    "https://hf.co/": "hf",
    "https://huggingface.co/": "hf",
    "ollama:": "registry",
    "ollama.com/": "registry",
    "https://ollama.com/": "registry",
    "registry.ollama.ai/": "registry",
    "oci://": "registry",
    "docker://": "registry",
    "https://": "web",
    "http://": "web",
    "modelscope:": "modelscope",
    "modelscope.cn/": "modelscope",
    "https://modelscope.cn/": "modelscope",
    "s3://": "s3",
    "file:": "file",
}
"""What a source text begins with; the longest match counts. Compared without case."""

_PATH = re.compile(r"\.{0,2}[/\\]|~|[A-Za-z]:[\\/]|\.{1,2}\Z")


def kind_of(text: str) -> str:
    """The kind of source a text names, "" for a plain model name.

    A name whose host is a machine (``registry.example.com/…``, ``localhost:5000/…``) is a registry's.
    """
    folded = text.lower()
    matches = [prefix for prefix in PREFIXES if folded.startswith(prefix)]
    if matches:
        return PREFIXES[max(matches, key=len)]
    if _PATH.match(text):
        return "file"
    host, slash, rest = text.partition("/")
    is_machine = "." in host or ":" in host or host.lower() == "localhost"
    return "registry" if slash and "/" in rest and is_machine else ""


def is_source(text: str) -> bool:
    """Whether a text names a source and not just a stored or catalogued model."""
    return bool(kind_of(text))


def parse(text: str) -> Ref:
    """A source text as a Ref. Raises BadRequest, InvalidName, or Unsupported."""
    kind = kind_of(text)
    if not kind:
        raise BadRequest("That is not a source of models.", hint="See: inhouse pull --help", param="model")
    return SOURCES[kind].parse(text)


def name_of(text: str) -> ModelName:
    """The name that a model name or source text is stored under. Raises BadRequest, InvalidName."""
    return parse(text).name if is_source(text) else ModelName.parse(text)


__all__ = [
    "SOURCES",
    "Asset",
    "Got",
    "Listing",
    "Policy",
    "PullEvent",
    "Ref",
    "Role",
    "Source",
    "Texts",
    "Throttle",
    "Watch",
    "is_source",
    "kind_of",
    "name_of",
    "parse",
]
