"""Server-sent events of one answer: what chat and text completions have in common.

    (chunk of a choice)* · finish chunk per choice · usage chunk when asked · ``data: [DONE]``

Everything that is constant is made once per request; per token only its text is encoded.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ...core.errors import InhouseError
from ...core.events import ChoiceEnd, Event, Finished, Notice, Progress, Started, TextDelta
from ..fold import unended, warnings_of
from ..wire import dumps, quote
from .errors import error_body
from .shapes import Head, finish_reason, usage_of

DONE = b"data: [DONE]\n\n"
_STEP = 32
_NOISE = "".join(random.choices(string.ascii_letters + string.digits, k=4096)).encode()  # noqa: S311


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """``usage``: a last chunk tells the token counts. ``obfuscate``: chunks are padded to sizes that say
    less of the lengths of their texts."""

    usage: bool = False
    obfuscate: bool = False


def padding(size: int) -> bytes:
    """A member that brings a chunk of ``size`` bytes to a multiple of 32."""
    short = -(size + 17) % _STEP
    at = random.randrange(len(_NOISE) - _STEP)  # noqa: S311 - the length matters, the letters do not
    return b',"obfuscation":"%b"' % _NOISE[at : at + short]


class EventStream:
    """Base of the streaming encoders. ``total`` choices are expected; each must end."""

    media_type = "text/event-stream"
    streaming = True
    call_reason = ""

    def __init__(self, head: Head, total: int, options: StreamOptions, *, suffix: str = "") -> None:
        self.options = options
        self._obfuscate = options.obfuscate
        self._total = total
        self._head, self._suffix = head, suffix
        self._open = b"data: " + head.opening(suffix)
        self._close = b',"usage":null}\n\n' if options.usage else b"}\n\n"
        self._around: dict[int, tuple[bytes, bytes]] = {}
        self._begun: set[int] = set()
        self._notices: list[Notice] = []
        self._called: set[int] = set()
        self._ended: set[int] = set()
        self._by_type: dict[type, Callable[[Any], bytes]] = {
            Started: self._on_started,
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
                return self._plain(around, event.text)
        handler = self._by_type.get(type(event))
        return handler(event) if handler is not None else b""

    def _plain(self, around: tuple[bytes, bytes], text: str) -> bytes:
        out = around[0] + quote(text) + around[1]
        return out + padding(len(out)) + self._close if self._obfuscate else out + self._close

    def fail(self, error: InhouseError) -> bytes:
        """An error event and nothing after it: no finish reason, no [DONE]."""
        return b"data: " + dumps(error_body(error)) + b"\n\n"

    def keepalive(self) -> bytes:
        return b": keep-alive\n\n"

    def _text_around(self, index: int) -> tuple[bytes, bytes]:
        """Bytes before and after the text of a plain chunk of this choice, up to ``_close``."""
        raise NotImplementedError

    def _begin(self, index: int, *, text: bool) -> bytes:
        """Bytes that open a choice; called once, before anything else of it. ``text`` comes next."""
        return b""

    def _finish(self, index: int, reason: str) -> dict[str, Any]:
        """The choice object of the finish chunk."""
        raise NotImplementedError

    def _logprobs_chunk(self, event: TextDelta) -> bytes:
        raise NotImplementedError

    def _opened(self, index: int, *, text: bool = False) -> bytes:
        if index in self._begun:
            return b""
        self._begun.add(index)
        return self._begin(index, text=text)

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        """A chunk that is not on the hot path; notices that came before ride in it."""
        extra = b""
        if self._notices:
            extra = b',"warnings":' + dumps(warnings_of(self._notices))
            self._notices.clear()
        out = self._open + b'"choices":[' + dumps(choice) + b"]" + extra
        return out + padding(len(out)) + self._close if self._obfuscate else out + self._close

    def _on_started(self, event: Started) -> bytes:
        self._open = b"data: " + replace(self._head, build=event.build).opening(self._suffix)
        return b""

    def _on_text(self, event: TextDelta) -> bytes:
        opened = self._opened(event.index, text=True)
        around = self._around.get(event.index)
        if around is None:
            around = self._around[event.index] = self._text_around(event.index)
        if event.logprobs:
            return opened + self._logprobs_chunk(event)
        return opened + self._plain(around, event.text)

    def _on_notice(self, event: Notice) -> bytes:
        self._notices.append(event)
        return b""

    def _on_end(self, event: ChoiceEnd) -> bytes:
        opened = self._opened(event.index, text=True)
        self._ended.add(event.index)
        reason = finish_reason(event.reason, self.call_reason if event.index in self._called else "")
        return opened + self._chunk(self._finish(event.index, reason))

    def _on_finished(self, event: Finished) -> bytes:
        if len(self._ended) < self._total:
            raise unended()
        late = b"".join(b": warning " + dumps(w) + b"\n\n" for w in warnings_of(self._notices))
        if not self.options.usage:
            return late + DONE
        usage = b'"choices":[],"usage":' + dumps(usage_of(event.usage)) + b"}\n\n"
        return late + self._open + usage + DONE
