"""What the answers of all tasks have in common: one body, at the end."""

from __future__ import annotations

from typing import Any

from ...core.errors import EngineError, InhouseError
from ...core.events import Event, Finished, Notice, Ranked
from ..fold import warnings_of
from ..wire import dumps, explain


class OneBody:
    """Base of encoders that send one JSON body at Finished."""

    media_type = "application/json"
    streaming = False

    def __init__(self) -> None:
        self._notices: list[Notice] = []

    def feed(self, event: Event) -> bytes:
        if isinstance(event, Finished):
            return dumps(self._body(event))
        if isinstance(event, Notice):
            self._notices.append(event)
        else:
            self._take(event)
        return b""

    def fail(self, error: InhouseError) -> bytes:
        message = {
            "message": explain(error),
            "type": "server_error",
            "param": error.param,
            "code": error.code,
        }
        return dumps({"error": message})

    def keepalive(self) -> bytes:
        return b""

    def _take(self, event: Event) -> None:
        """Keep what the body needs of an event."""
        raise NotImplementedError

    def _body(self, finished: Finished) -> Any:
        raise NotImplementedError

    def _warnings(self) -> dict[str, Any]:
        return {"warnings": warnings_of(self._notices)} if self._notices else {}


class RankBody(OneBody):
    """Base of answers made of scores. ``raw`` gives the model's own figures instead of 0..1."""

    def __init__(self, total: int, *, raw: bool) -> None:
        super().__init__()
        self._total, self._raw = total, raw
        self._ranks: dict[int, float] = {}

    def _take(self, event: Event) -> None:
        if isinstance(event, Ranked):
            self._ranks[event.index] = event.score if self._raw else event.relevance

    def _scores(self) -> list[float]:
        """All scores in the order of the pairs. Raises EngineError when one is missing."""
        if any(index not in self._ranks for index in range(self._total)):
            raise EngineError("The engine left out a score.", hint="Try again.")
        return [self._ranks[index] for index in range(self._total)]
