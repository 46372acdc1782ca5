"""The journal and the traces of a home, within the space that they may take together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..core.journal import Record
from .book import Book
from .journal import Journal
from .trace import Traces

SHARE: Final = 4
"""Of the space, events get one part and traces, which are more, the others."""


def opened(
    folder: Path, *, size: int, days: int, hear: Callable[[Record], None] = lambda _: None
) -> tuple[Journal, Traces]:
    """Both, of at most ``size`` bytes, kept for ``days``; of an earlier server's, the newest are read.
    Blocking. Without a size nothing is written to disk. ``hear`` is told of every record."""
    if not size:
        return Journal(hear=hear), Traces()
    events = size // SHARE
    return (
        Journal(Book(folder, "events", size=events, days=days), hear=hear),
        Traces(Book(folder, "traces", size=size - events, days=days)),
    )


__all__ = ["SHARE", "opened"]
