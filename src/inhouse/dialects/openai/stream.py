"""Server-sent events of one answer: what chat and text completions have in common.

    (chunk of a choice)* · finish chunk per choice · usage chunk when asked · ``data: [DONE]``

Everything that is constant is made once per request; per token only its text is encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...core.errors import InhouseError
from ...core.events import ChoiceEnd, Event, Finished, Notice, Progress, TextDelta
from ..fold import unended, warnings_of
from ..wire import dumps, quote
from .errors import error_body
from .shapes import Head, finish_reason, usage_of

DONE = b"data: [DONE]\n\n"


class EventStream:
    """Base of the streaming encoders. ``total`` choices are expected; each must end."""

    media_type = "text/event-stream"
    streaming = True

    def __init__(self, head: Head, total: int, *, include_usage: bool, suffix: str = "") -> None:
        self.include_usage = include_usage
        self._total = total
        self._open = b"data: " + head.opening(suffix)
        self._close = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._around: dict[int, tuple[bytes, bytes]] = {}
        self._notices: list[Notice] = []
        self._called: set[int] = set()
        self._ended: set[int] = set()
        self._by_type: dict[type, Callable[[Any], bytes]] = {
            TextDelta: self._on_text,
            ChoiceEnd: self._on_end,
            Finished: self._on_finished,
            Notice: self._on_notice,
            Progress: lambda event: b": prefill %d/%d\n\n" % (event.processed, event.total),
        }

    def feed(self, event: Event) -> bytes:
        """Bytes for one event. Raises EngineError when the answer finishes with an open choice."""
        if type(event) is TextDelta and not event.logprobs:
            around = self._around.get(event.index)
            if around is not None:
                return around[0] + quote(event.text) + around[1]
        handler = self._by_type.get(type(event))
        return handler(event) if handler is not None else b""

    def fail(self, error: InhouseError) -> bytes:
        """An error event and nothing after it: no finish reason, no [DONE]."""
        return b"data: " + dumps(error_body(error)) + b"\n\n"

    def keepalive(self) -> bytes:
        return b": keep-alive\n\n"

    def _text_around(self, index: int) -> tuple[bytes, bytes]:
        """Bytes before and after the text of a plain chunk of this choice."""
        raise NotImplementedError

    def _begin(self, index: int) -> bytes:
        """Bytes that open a choice; called once, before anything else of it."""
        return b""

    def _finish(self, index: int, reason: str) -> dict[str, Any]:
        """The choice object of the finish chunk."""
        raise NotImplementedError

    def _logprobs_chunk(self, event: TextDelta) -> bytes:
        raise NotImplementedError

    def _opened(self, index: int) -> bytes:
        if index in self._around:
            return b""
        self._around[index] = self._text_around(index)
        return self._begin(index)

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        """A chunk that is not on the hot path; notices that came before ride in it."""
        extra = b""
        if self._notices:
            extra = b',"warnings":' + dumps(warnings_of(self._notices))
            self._notices.clear()
        return self._open + b'"choices":[' + dumps(choice) + b"]" + extra + self._close

    def _on_text(self, event: TextDelta) -> bytes:
        opened = self._opened(event.index)
        if event.logprobs:
            return opened + self._logprobs_chunk(event)
        before, after = self._around[event.index]
        return opened + before + quote(event.text) + after

    def _on_notice(self, event: Notice) -> bytes:
        self._notices.append(event)
        return b""

    def _on_end(self, event: ChoiceEnd) -> bytes:
        opened = self._opened(event.index)
        self._ended.add(event.index)
        reason = finish_reason(event.reason, event.index in self._called)
        return opened + self._chunk(self._finish(event.index, reason))

    def _on_finished(self, event: Finished) -> bytes:
        if len(self._ended) < self._total:
            raise unended()
        late = b"".join(b": warning " + dumps(w) + b"\n\n" for w in warnings_of(self._notices))
        if not self.include_usage:
            return late + DONE
        usage = b'"choices":[],"usage":' + dumps(usage_of(event.usage)) + b"}\n\n"
        return late + self._open + usage + DONE
