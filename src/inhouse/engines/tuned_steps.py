"""What there is to try for a model, and the search through it: one setting after the other. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ..core.errors import OutOfMemory, Unsupported
from ..core.models import Card
from . import speculation
from .recipe import Tuned
from .tuned import Trial

CONTEXT: Final = 2048
"""Tokens of each slot while it is measured."""

_BATCHES: Final = (64, 128, 256, 512)

Kind = Literal["speed", "prefill", "clients", "guess"]


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
    more: Collection[int] = (),
    drafts: Sequence[tuple[str, str]] = (),
    settled: frozenset[str] = frozenset(),
    quick: bool = False,
) -> tuple[Step, ...]:
    """What to try, the most telling first. ``drafts``: (name, digest) of models that could guess for this
    one. What a person has ``settled`` is not tried. ``cores`` are used by default; there are
    ``more``, slower ones or two threads of one."""
    counts = {max(1, cores - 1), max(1, cores // 2), *more}
    threads = sorted(counts - {cores}, reverse=True)
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


def changed(base: Tuned, change: Mapping[str, Any]) -> Tuned:
    """``base`` with one thing tried; another way of guessing takes its draft model along."""
    blank: dict[str, Any] = {"draft": "", "draft_tokens": None} if "speculative" in change else {}
    return dataclasses.replace(base, **{**blank, **change})


def check(card: Card) -> None:
    """Raise Unsupported for models that are not tuned."""
    if card.format != "gguf" or "completion" not in card.capabilities:
        raise Unsupported("Only GGUF models that generate text are tuned.", param="model")


def check_room(memory: int, free: int) -> None:
    """Raise OutOfMemory unless two workers of ``memory`` bytes fit side by side into what is ``free``:
    nothing that is loaded goes for them."""
    if 2 * memory > free:
        raise OutOfMemory(
            f"Tuning loads the model twice beside what is loaded: {2 * memory // 2**20} MiB,"
            f" and {free // 2**20} MiB are free.",
            hint="Stop models that are loaded (inhouse ps, inhouse stop), or raise INHOUSE_MEMORY.",
        )


@dataclass(slots=True)
class Search:
    """One run: what is best so far, and what came of each thing that was tried."""

    best: Tuned = field(default_factory=Tuned)
    trials: list[Trial] = field(default_factory=list)
    disturbed: bool = False

    def wanted(self, value: Mapping[str, Any]) -> Tuned | None:
        """The best with this changed; None where it is so already."""
        found = changed(self.best, value)
        return None if found == self.best else found

    def skip(self, what: str) -> None:
        """Nothing came of it for want of time."""
        self.trials.append(Trial(what, outcome="not tried: no time was left"))

    def note(self, trial: Trial, tried: Tuned, *, taken: bool) -> None:
        """What came of it; the best so far if it was ``taken``."""
        self.trials.append(trial)
        if taken:
            self.best = tried


__all__ = [
    "CONTEXT",
    "Kind",
    "Search",
    "Step",
    "changed",
    "check",
    "check_room",
    "shown",
    "steps",
]
