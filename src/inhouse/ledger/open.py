"""The entries that are not closed yet: requests under way."""

from __future__ import annotations

from collections.abc import Callable

from ..core.requests import Caller
from .entry import Entry


class Open:
    """Opens entries and hands them to ``sink`` when they are closed. Use it in one thread."""

    def __init__(self, sink: Callable[[Entry], None]) -> None:
        self._sink = sink
        self._entries: dict[Entry, None] = {}

    def __call__(self, caller: Caller, asked: str, task: str) -> Entry:
        """The entry of a request that begins now."""
        entry = Entry(caller, asked, task, self._close)
        self._entries[entry] = None
        return entry

    def named(self, id: str) -> list[Entry]:
        """Those of a request id, the latest first; clients may choose ids, so there can be several."""
        return [entry for entry in reversed(self._entries) if entry.caller.request_id == id]

    def __len__(self) -> int:
        return len(self._entries)

    def _close(self, entry: Entry) -> None:
        del self._entries[entry]
        self._sink(entry)
