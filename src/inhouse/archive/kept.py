"""Values of the archive."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Kept:
    """One object. ``kind`` and ``id`` name it within its ``tenant``; ``parent`` is the id of what it
    belongs to. ``created`` and ``expires`` are seconds since 1970; without ``expires`` the archive's own
    number of days counts, and stands there when the object is read. ``body`` is JSON."""

    kind: str
    id: str
    tenant: str
    created: float
    body: dict[str, Any]
    parent: str = ""
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted. ``after`` and ``before`` are ids, both outside the page.

    ``parent`` "" is any. ``match`` compares members of the bodies with strings: ``{"model": "m"}``, and
    members of members: ``{"metadata": {"topic": "x"}}``; its outer names come from us, never from a
    client.
    """

    parent: str = ""
    after: str | None = None
    before: str | None = None
    limit: int = 20
    ascending: bool = False
    match: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)


def pack(body: dict[str, Any]) -> str:
    """JSON text that SQLite can hold: valid UTF-8 whatever the strings are."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return json.dumps(body, separators=(",", ":"))
    return text
