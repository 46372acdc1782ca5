"""What a request used: tokens and time. Seconds are floats of a monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """``prompt_tokens`` counts all prompt tokens; ``cached_tokens`` those reused from the KV cache.
    ``drafted_tokens`` were guessed by speculative decoding, of which ``accepted_tokens`` were right.
    ``restored_tokens``: prompt tokens read from disk, ``restored_bytes`` what was read for them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    restored_tokens: int = 0
    restored_bytes: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds. ``prefill`` and ``decode`` are the engine's own; the others are the control plane's."""

    queue: float = 0.0
    load: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """One stretch of a request's way: ``name`` (queue, evict, load, restore, prefill, decode, retry ...),
    its ``seconds``, what caused it and what would help, both for people."""

    name: str
    seconds: float
    cause: str = ""
    remedy: str = ""
