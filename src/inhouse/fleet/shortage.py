"""What follows when a model runs out of memory while it loads: it is planned smaller, for a while. Pure."""

from __future__ import annotations

import re
from typing import Final

from ..core.engine import Launch
from ..core.errors import LoadFailed, OutOfMemory

SMALLER: Final = 0.7
"""Of the memory of a plan that was too large, what the next one may take."""

CAPPED: Final = 600.0
"""Seconds for which a model that was too large is planned smaller from the start."""

CAPPED_NOTICE: Final = "It is planned smaller than usual: it ran out of memory a short while ago."

_NO_MEMORY: Final = re.compile(
    r"SIGKILL|exit code 137|exit code -9\b|out of memory|std::bad_alloc|MemoryError|cannot allocate memory"
    r"|(?:failed|unable) to allocate|OutOfMemory|not enough (?:memory|space)",
    re.IGNORECASE,
)
"""What llama.cpp, ggml's backends, CUDA, Python and the kernel say, or how a process ends that the kernel
killed for its memory."""


def ran_out(error: LoadFailed) -> bool:
    """Did the load fail for want of memory, as far as its error and the worker's last words tell?"""
    return bool(_NO_MEMORY.search(f"{error.message}\n{error.hint}\n{error.detail}"))


def smaller(failed: Launch) -> int:
    """Bytes that the next plan may take."""
    return int(failed.memory * SMALLER)


class Caps:
    """Bytes that models which were too large may take, by digest; each holds for a while. ``now`` is
    monotonic."""

    def __init__(self) -> None:
        self._caps: dict[str, tuple[int, float]] = {}

    def put(self, digest: str, limit: int, now: float) -> None:
        """So many bytes from now on."""
        self._caps[digest] = (limit, now)

    def of(self, digest: str, now: float) -> int | None:
        """The bytes that it may take, None without a limit."""
        limit, since = self._caps.get(digest, (0, 0.0))
        return limit if limit and now - since <= CAPPED else None


def told(failed: Launch, launch: Launch) -> str:
    """What a smaller plan has instead, for people."""
    return (
        f"It ran out of memory with {failed.slots} slots of {failed.context_length} tokens"
        f" ({_mib(failed.memory)} MiB), so it has {launch.slots} of {launch.context_length}"
        f" ({_mib(launch.memory)} MiB)."
    )


def hopeless(name: str, failed: Launch, available: int, least: OutOfMemory | None = None) -> OutOfMemory:
    """The error for a model of which no smaller plan helps; ``least``: not even one was possible."""
    more = f", and nothing smaller than {_mib(smaller(failed))} MiB can be planned." if least else "."
    return OutOfMemory(
        f"The model ran out of memory while it loaded: {_mib(failed.memory)} MiB were planned,"
        f" {_mib(available)} MiB are available now{more}",
        hint=f"See what would fit: inhouse plan {name}",
        detail=least.message if least else "",
    )


def _mib(size: int) -> int:
    return -(-size // 2**20)


__all__ = ["CAPPED", "CAPPED_NOTICE", "SMALLER", "Caps", "hopeless", "ran_out", "smaller", "told"]
