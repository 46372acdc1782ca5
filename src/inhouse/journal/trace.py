"""The way of one request: where its time went. Never what was asked or answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final

from msgspec import Meta

from ..core.usage import Step, Timings, Usage
from .book import Book
from .index import Index
from .roll import LAST, Roll

KEPT = 2000
"""Requests at hand without reading the disk."""


RUNNING: Final = "running"
"""The outcome of a request that is not over yet."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a request failed, as its client was told."""

    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One request, over or (``outcome`` is RUNNING) as far as it came. ``at`` is when it came, in seconds
    since 1970; all spans are seconds.

    ``steps`` is what it waited for before the engine had it; ``timings`` are the engine's and the control
    plane's; ``ttft`` None when nothing was written; ``pause`` the longest silence between two pieces of the
    answer. ``tenant`` is who asked, to keep one caller's requests from another; it is shown to nobody.
    ``build`` and ``variant`` say by what build of the engine it was answered.
    """

    id: str
    at: Annotated[float, Meta(ge=0, le=LAST)]
    tenant: str = ""
    dialect: str = ""
    endpoint: str = ""
    task: str = ""
    asked: str = ""
    model: str = ""
    route: str = ""
    engine: str = ""
    variant: str = ""
    build: str = ""
    outcome: str = ""
    seconds: float = 0.0
    ttft: float | None = None
    pause: float = 0.0
    steps: tuple[Step, ...] = ()
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    trouble: Trouble | None = None


class Traces:
    """The last requests. Taking one in is quick and never fails."""

    def __init__(self, book: Book | None = None) -> None:
        self._roll: Roll[Trace] = Roll(Trace, book, kept=KEPT)
        self._index = Index(book) if book is not None else None

    def write(self, trace: Trace) -> None:
        """Take in one request that is over."""
        self._roll.add(trace)

    def items(self) -> list[Trace]:
        """What is remembered, the first to end first."""
        return self._roll.items()

    def named(self, id: str, tenant: str | None) -> list[Trace]:
        """The requests of that id, the latest first; ``tenant`` None: whoever asked. Clients may choose
        ids, so there can be several. The disk is asked when memory has none. Blocking."""
        found, index = _of(self.items(), id, tenant), self._index
        if not found and index is not None:
            found = _of(self._roll.search(lambda: index.lines(id)), id, tenant)
        return found[::-1]

    @property
    def dropped(self) -> int:
        """Requests that the disk did not take."""
        return self._roll.dropped

    def close(self) -> None:
        """Write down what waits. Blocking, for some seconds at most."""
        self._roll.close()


def _of(traces: list[Trace], id: str, tenant: str | None) -> list[Trace]:
    return [one for one in traces if one.id == id and tenant in (None, one.tenant)]
