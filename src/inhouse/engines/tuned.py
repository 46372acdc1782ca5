"""What measuring found best, kept by weights, engine build and machine; and what there is to try.

One JSON file each under ``tuned`` in the home. A file is written whole or not at all, and one that is not
understood counts as none: tuning makes things faster, it must never stop them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ..core.models import Card
from . import speculation
from .recipe import Tuned

FOLDER: Final = "tuned"
LARGEST: Final = 2**20  # bytes of a file that is read
_BATCHES: Final = (64, 128, 256, 512)
_TYPES: Final = frozenset({"", "f16", "q8_0", "q4_0"})

Kind = Literal["speed", "prefill", "clients", "guess"]


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


@dataclass(frozen=True, slots=True)
class Step:
    """One setting and the values to try, each as changes of a Tuned. ``kind`` is what decides: speed of one
    stream, prefill, the total of many clients, or guessing (ordinary text and copies). ``offered`` values
    are measured and shown, never taken by themselves: they cost quality."""

    name: str
    values: tuple[Mapping[str, Any], ...]
    kind: Kind
    offered: tuple[Mapping[str, Any], ...] = ()


def steps(
    card: Card,
    *,
    cores: int,
    logical: int,
    drafts: Sequence[tuple[str, str]] = (),
    settled: frozenset[str] = frozenset(),
    quick: bool = False,
) -> tuple[Step, ...]:
    """What to try, the most telling first. ``drafts``: (name, digest) of models that could guess for this
    one. What a person has ``settled`` is not tried."""
    threads = sorted({cores, max(1, cores - 1), logical, max(1, cores // 2)} - {cores}, reverse=True)
    found = [
        Step("threads", tuple({"threads": n} for n in threads), "speed"),
        Step("batch", tuple({"batch": n} for n in (_BATCHES[1:3] if quick else _BATCHES)), "prefill"),
        Step("speculative", _guesses(card, drafts, quick), "guess"),
    ]
    if not quick:
        found += [
            Step("flash_attention", ({"flash_attention": True}, {"flash_attention": False}), "speed"),
            Step(
                "kv_cache_type", ({"kv_cache_type": "q8_0"},), "speed", offered=({"kv_cache_type": "q4_0"},)
            ),
            Step("mmap", ({"mmap": False}, {"mmap": True}), "speed"),
            Step("slots", ({"slots": 8}, {"slots": 16}), "clients"),
        ]
    return tuple(step for step in found if step.name not in settled and step.values)


def _guesses(card: Card, drafts: Sequence[tuple[str, str]], quick: bool) -> tuple[Mapping[str, Any], ...]:
    modes: list[Mapping[str, Any]] = [{"speculative": speculation.NONE}]
    own = "draft" if card.of_role("draft") else ""
    for name in speculation.possible(card, own)[1:]:
        if name == "ngram" and speculation.safe(card) and not own:
            continue  # what is done anyway
        if name in speculation.SHARES or (quick and name not in ("mtp", "draft")):
            continue
        modes.append({"speculative": name})
    if not own and not quick:
        modes += [{"speculative": "draft", "draft": digest} for _, digest in drafts]
    return tuple(modes)


def shown(change: Mapping[str, Any], names: Mapping[str, str] | None = None) -> str:
    """A change for people: ``threads 1``, ``speculative draft (qwen2.5-coder:0.5b)``."""
    words = []
    for key, value in change.items():
        if key == "draft":
            words.append(f"({(names or {}).get(value, value[:12])})")
        elif isinstance(value, bool):
            words.append(f"{key} {'on' if value else 'off'}")
        else:
            words.append(f"{key} {value}")
    return " ".join(words)


__all__ = ["Kept", "Key", "Shelf", "Step", "Trial", "free_of", "sane", "shown", "steps"]
