"""Encoders of /v1/completions: streamed and whole."""

from __future__ import annotations

from typing import Any

from ...core.events import Event, TextDelta
from .chat import WholeAnswer
from .shapes import Head, finish_reason, text_logprobs
from .stream import EventStream, StreamOptions


class CompletionStream(EventStream):
    """Chunks of ``text_completion``. ``logprobs`` is the number of alternatives, None: off."""

    def __init__(self, head: Head, total: int, options: StreamOptions, *, logprobs: int | None) -> None:
        super().__init__(head, total, options)
        self._logprobs = logprobs
        self._offsets: dict[int, int] = {}

    def feed(self, event: Event) -> bytes:
        out = super().feed(event)
        if self._logprobs is not None and type(event) is TextDelta:
            self._offsets[event.index] = self._offsets.get(event.index, 0) + len(event.text)
        return out

    def _text_around(self, index: int) -> tuple[bytes, bytes]:
        after = b',"index":%d,"logprobs":null,"finish_reason":null}]' % index
        return self._open + b'"choices":[{"text":', after

    def _finish(self, index: int, reason: str) -> dict[str, Any]:
        return {"text": "", "index": index, "logprobs": None, "finish_reason": reason}

    def _logprobs_chunk(self, event: TextDelta) -> bytes:
        at = self._offsets.get(event.index, 0)
        logprobs = text_logprobs(event.logprobs, at, self._logprobs or 0)
        return self._chunk(
            {"text": event.text, "index": event.index, "logprobs": logprobs, "finish_reason": None}
        )


class CompletionWhole(WholeAnswer):
    """One ``text_completion``."""

    def __init__(self, head: Head, total: int, *, logprobs: int | None) -> None:
        super().__init__()
        self._head = head
        self._total = total
        self._logprobs = logprobs

    def body(self) -> dict[str, Any]:
        choices = []
        for index, choice, reason in self._fold.ended(self._total):
            text = "".join(choice.text)
            logprobs = None
            if choice.logprobs:
                # An echoed prompt comes without logprobs, before the first token.
                start = max(0, len(text) - sum(len(t.token) for t in choice.logprobs))
                logprobs = text_logprobs(choice.logprobs, start, self._logprobs or 0)
            choices.append(
                {
                    "text": text,
                    "index": index,
                    "logprobs": logprobs,
                    "finish_reason": finish_reason(reason),
                }
            )
        return {**self._opening(self._head), "choices": choices, **self._ending()}
