"""What happened to models and requests that an operator may ask about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "load",
    "load_failed",
    "retry",
    "restart",
    "eviction",
    "fallback",
    "refusal",
    "engine",
    "server",
    "notice",
]


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the journal: what happened (``kind``), to which model, why, and what to do about it.

    ``cause`` and ``remedy`` are one sentence each, "" where there is none. ``request_id`` names the request
    that it happened to or for. ``facts`` are JSON values (seconds, bytes, names); never a prompt or a key.
    """

    kind: Kind
    model: str
    cause: str
    remedy: str = ""
    request_id: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
