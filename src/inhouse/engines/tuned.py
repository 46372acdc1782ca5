"""What measuring found best, kept by weights, engine build and machine.

One JSON file each under ``tuned`` in the home. A file is written whole or not at all, and one that is not
understood counts as none: tuning makes things faster, it must never stop them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from ..core.journal import Record
from . import speculation
from .recipe import Tuned

FOLDER: Final = "tuned"
LARGEST: Final = 2**20  # bytes of a file that is read
_TYPES: Final = frozenset({"", "f16", "q8_0", "q4_0"})


@dataclass(frozen=True, slots=True)
class Key:
    """What a tuning holds for: digest of the weights, the engine's build, the machine's fingerprint."""

    weights: str
    build: str
    machine: str

    @property
    def file(self) -> str:
        """The name of its file."""
        text = "\n".join((self.weights, self.build, self.machine))
        return hashlib.sha256(text.encode()).hexdigest()[:32] + ".json"


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing that was tried: ``what`` for people, its gain over what was best before it (1.0: none),
    the middle 80 % of the rounds' gains, and what came of it: taken, not faster, offered, skipped ..."""

    what: str
    gain: float = 1.0
    low: float = 1.0
    high: float = 1.0
    rounds: int = 0
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A tuning with its story. ``at`` is Unix time; ``gains`` are those of the whole over the defaults,
    by name (prefill, decode, copy ...)."""

    key: Key
    model: str
    tuned: Tuned
    at: float
    trials: tuple[Trial, ...] = ()
    gains: Mapping[str, float] = field(default_factory=dict)


class Shelf:
    """The tunings of one home. Blocking: call it in a thread where that matters."""

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER

    def get(self, key: Key) -> Kept | None:
        """The tuning for exactly this, None without one. Never raises."""
        kept = _read(self._folder / key.file)
        return kept if kept is not None and kept.key == key else None

    def put(self, kept: Kept) -> None:
        """Keep a tuning; one for the same key is replaced. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / kept.key.file
        aside = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            aside.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=2))
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def of(self, weights: str) -> list[Kept]:
        """Every tuning for these weights, newest first."""
        found = (_read(path) for path in self._files())
        return sorted((k for k in found if k is not None and k.key.weights == weights), key=lambda k: -k.at)

    def forget(self, weights: str) -> int:
        """Delete every tuning for these weights; how many there were."""
        gone = 0
        for path in self._files():
            kept = _read(path)
            if kept is not None and kept.key.weights == weights:
                path.unlink(missing_ok=True)
                gone += 1
        return gone

    def _files(self) -> list[Path]:
        with contextlib.suppress(OSError):
            return sorted(self._folder.glob("*.json"))
        return []


def _read(path: Path) -> Kept | None:
    try:
        if path.stat().st_size > LARGEST:
            return None
        kept = msgspec.json.decode(path.read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None
    return kept if sane(kept.tuned) else None


def sane(tuned: Tuned) -> bool:
    """Whether the numbers of a tuning are such as a recipe could have been given."""
    return (
        _within(tuned.threads, 1, 4096)
        and _within(tuned.batch, 32, 4096)
        and _within(tuned.slots, 1, 1024)
        and _within(tuned.draft_tokens, 1, 1024)
        and tuned.kv_cache_type in _TYPES
        and tuned.speculative in ("", speculation.NONE, *speculation.MODES)
    )


def _within(value: int | None, low: int, high: int) -> bool:
    return value is None or low <= value <= high


def free_of(tuned: Tuned, settled: frozenset[str]) -> Tuned:
    """The tuning without the fields that a person has ``settled`` otherwise."""
    blank = Tuned()
    changes: dict[str, Any] = {name: getattr(blank, name) for name in settled if hasattr(blank, name)}
    if "speculative" in settled:
        changes |= {"draft": "", "draft_tokens": None}
    return dataclasses.replace(tuned, **changes)


def as_json(kept: Kept) -> dict[str, Any]:
    """A tuning for clients: only what was set."""
    blank = Tuned()
    fields = {name: getattr(kept.tuned, name) for name in Tuned.__slots__}
    return {
        "model": kept.model,
        "build": kept.key.build,
        "machine": kept.key.machine,
        "at": kept.at,
        "tuned": {name: value for name, value in fields.items() if value != getattr(blank, name)},
        "gains": dict(kept.gains),
        "trials": [{name: getattr(trial, name) for name in Trial.__slots__} for trial in kept.trials],
    }


def record(kept: Kept) -> Record:
    """What the journal says of a search that is over."""
    gained = ", ".join(f"{name} {gain:.2f}x" for name, gain in kept.gains.items())
    text = f"It was tuned for this machine: {gained}." if gained else "Nothing beats the defaults here."
    return Record("notice", kept.model, text, f"See: inhouse tune {kept.model} --show")


__all__ = ["Kept", "Key", "Shelf", "Trial", "as_json", "free_of", "record", "sane"]
