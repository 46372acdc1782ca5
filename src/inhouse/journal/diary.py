"""What the server writes of itself: its start, with what an earlier one left behind, and its end."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from .. import __version__
from ..core.journal import Record
from .journal import Journal, Line


def _unended(lines: Sequence[Line]) -> bool:
    """Whether the last server that wrote them did not tell of its end."""
    last = next((one for one in reversed(lines) if one.record.kind == "server"), None)
    return last is not None and last.record.facts.get("state") == "started"


class Diary:
    """``journal`` is the one of this server, with what earlier ones wrote."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._began = time.monotonic()

    def begin(self, settings: Sequence[str], left: Sequence[str]) -> None:
        """The server starts with ``settings`` set by hand (their names); ``left`` is what was found of one
        that did not end by itself."""
        broken = bool(left) or _unended(self._journal.lines())
        cause, remedy = "The server started.", ""
        if broken:
            cause = "The server started; the one before it did not end by itself."
            remedy = (
                "It was killed or the machine stopped: look at the end of its log, and whether the system's"
                " log tells of the out-of-memory killer. What it left behind was put in order."
            )
        facts = {
            "state": "started",
            "version": __version__,
            "pid": os.getpid(),
            "settings": list(settings),
            "after": "broken" if broken else "clean",
            "left": list(left),
        }
        self._journal.write(Record("server", "", cause, remedy, facts=facts))

    def end(self) -> None:
        """The server is about to end by itself."""
        lived = round(time.monotonic() - self._began, 1)
        self._journal.write(
            Record("server", "", "The server stopped.", facts={"state": "stopped", "seconds": lived})
        )


__all__ = ["Diary"]
