"""Bodies of Inhouse's own managing routes. Errors are rendered as Ollama's: ``{"error": text}``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...core.errors import BadRequest
from ...core.json import parse
from ..fields import Fields, check_text

MAX_MODELS = 1000
LOCK_FORMAT = 1


@dataclass(frozen=True, slots=True)
class PruneOrder:
    dry_run: bool
    everything: bool


@dataclass(frozen=True, slots=True)
class DiffOrder:
    """``other`` None: the model's previous version."""

    model: str
    other: str | None


def _fields(body: bytes) -> Fields:
    return Fields(parse(body) if body.strip() else {})


def decode_models(body: bytes) -> list[str]:
    """``{"models": [...]}``; an empty list is all. Raises BadRequest."""
    items = _fields(body).items("models", MAX_MODELS) or []
    return [check_text(f"models[{i}]", item) for i, item in enumerate(items)]


def decode_verify(body: bytes) -> bool:
    """``{"repair": bool}``. Raises BadRequest."""
    return _fields(body).flag("repair", False)


def decode_prune(body: bytes) -> PruneOrder:
    """``{"dry_run": bool, "all": bool}``. Raises BadRequest."""
    fields = _fields(body)
    return PruneOrder(fields.flag("dry_run", False), fields.flag("all", False))


def decode_diff(body: bytes) -> DiffOrder:
    """``{"model": name, "other": name}``. Raises BadRequest."""
    fields = _fields(body)
    return DiffOrder(fields.required_text("model"), fields.text("other"))


def decode_alias(body: bytes) -> tuple[str, str]:
    """``{"name": new name, "model": the model it follows}``. Raises BadRequest."""
    fields = _fields(body)
    return fields.required_text("name"), fields.required_text("model")


def decode_lock(body: bytes) -> Mapping[str, Any]:
    """A lock file. Raises BadRequest."""
    fields = _fields(body)
    if fields.whole("inhouse_lock", 0, 2**31 - 1) != LOCK_FORMAT:
        raise BadRequest("That is no lock file of this format.", hint="Write one with: inhouse lock")
    models = []
    for entry in fields.objects("models", MAX_MODELS):
        entry.required_text("name")
        models.append(entry.whole_object())
    return {"models": models}


__all__ = [
    "DiffOrder",
    "PruneOrder",
    "decode_alias",
    "decode_diff",
    "decode_lock",
    "decode_models",
    "decode_prune",
    "decode_verify",
]
