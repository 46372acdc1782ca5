"""What the network is told by those who use it, and what it tells them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class PullEvent:
    """One step of a pull, create or the like, with Ollama's statuses. Bytes; ``total`` 0 is unknown.
    ``result``: what a job found out, with its last step; plain data."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0
    result: Any = None


@dataclass(frozen=True, slots=True)
class Got:
    """A complete, synced, hashed file. ``in_place``: it belongs to somebody else and stays there.
    ``origin``: the model's source text, where only the fetching told it exactly."""

    path: Path
    sha256: str
    size: int
    in_place: bool = False
    origin: str = ""


class Throttle:
    """A bandwidth limit shared by everything a store fetches; ``rate`` bytes per second, 0: none."""

    def __init__(self, rate: int = 0) -> None:
        self.rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, count: int, stopped: threading.Event) -> None:
        """Wait until ``count`` more bytes are allowed; returns at once when ``stopped`` is set."""
        if not self.rate:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self.rate
            wait = self._free_at - now
        if wait > 0:
            stopped.wait(wait)


class Wanted(Protocol):
    """A file to transfer: where known its ``size`` in bytes and its ``sha256`` (64 hex), else 0 and ""."""

    @property
    def file(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...


class Rules(Protocol):
    """What may be asked of the network; see ``store.sources.base.Policy``."""

    @property
    def hosts(self) -> tuple[str, ...]: ...
    @property
    def rate(self) -> Throttle: ...
    @property
    def streams(self) -> int: ...
    @property
    def stall(self) -> float: ...


class Watch(Protocol):
    """Those who wait: they hear of progress, may give up, and may do more than a stranger."""

    stopped: threading.Event
    trusted: bool
    insecure: bool

    @property
    def policy(self) -> Rules: ...

    def say(self, event: PullEvent) -> None: ...

    def check(self) -> None:
        """Raises Cancelled once nobody wants the work any more."""
        ...
