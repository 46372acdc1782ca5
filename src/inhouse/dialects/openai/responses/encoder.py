"""The encoder of POST /v1/responses: events of the engine -> items -> server-sent events or one object.

    created · [queued] · in_progress
    · (output_item.added · parts and deltas · output_item.done)*      message, reasoning, call
    · completed | incomplete                                          or: error · failed

Both forms are folds of the same events by the same machine; the whole form says nothing until the end.
Everything that is constant is made once per item; per token only its text is encoded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ....core.errors import InhouseError
from ....core.events import (
    ChoiceEnd,
    Event,
    Finished,
    Notice,
    Progress,
    Reason,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
)
from ....core.usage import Usage
from ...fold import unended, warnings_of
from ...wire import dumps, quote
from ..errors import error_body
from ..shapes import call_id
from ..stream import padding
from .errors import error_event, response_error
from .order import Head
from .outputs import CallOutput, CustomOutput, MessageOutput, Output, ReasoningOutput
from .tools import Offer

_END = b"}\n\n"


@dataclass(frozen=True, slots=True)
class Style:
    """How an answer is shown. ``queued``: the response runs in the background."""

    streaming: bool = False
    queued: bool = False
    summary: bool = False
    sealed: bool = False
    obfuscate: bool = False


class ResponseEncoder:
    """One response. ``begun`` is true once something of the answer came; ``final`` is the settled object."""

    def __init__(self, head: Head, offers: Mapping[str, Offer], style: Style) -> None:
        self.streaming = style.streaming
        self.media_type = "text/event-stream" if style.streaming else "application/json"
        self.begun = False
        self.head = head
        self._offers = offers
        self._style = style
        self._sequence = 0
        self._outputs: list[Output] = []
        self._open: MessageOutput | ReasoningOutput | None = None
        self._calls: dict[int, CallOutput] = {}
        self._reason: Reason | None = None
        self._notices: list[Notice] = []
        self.final: dict[str, Any] | None = None
        self._greeted = False
        self._by_type: dict[type, Callable[[Any], bytes]] = {
            Started: lambda _: self._greet(),
            TextDelta: self._on_text,
            ReasoningDelta: self._on_reasoning,
            ToolCallDelta: self._on_call,
            ChoiceEnd: self._on_end,
            Finished: self._on_finished,
            Notice: self._on_notice,
            Progress: self._on_progress,
        }

    def feed(self, event: Event) -> bytes:
        """Bytes for one event. Raises EngineError when the answer finishes without an end."""
        current = self._open
        if type(event) is TextDelta and type(current) is MessageOutput and not event.logprobs:
            return self._delta(current, event.text)
        handler = self._by_type.get(type(event))
        return handler(event) if handler is not None else b""

    def settle(self, event: Finished) -> dict[str, Any]:
        """The final response object; what is fed after it is only ``event``. Idempotent."""
        if self.final is None:
            if self._reason is None:
                raise unended()
            cut = self._reason == "length"
            more: dict[str, Any] = {"usage": _usage(event.usage)}
            if cut:
                more["incomplete_details"] = {"reason": "max_output_tokens"}
            else:
                more["completed_at"] = int(time.time())
            if self._notices:
                more["warnings"] = warnings_of(self._notices)
            self.final = self.response("incomplete" if cut else "completed", **more)
        return self.final

    def response(self, status: str, **more: Any) -> dict[str, Any]:
        """The response object with what has come so far."""
        return self.head.response(status, [output.item() for output in self._outputs], **more)

    def failed(self, error: InhouseError) -> dict[str, Any]:
        """The response object of an answer that failed."""
        return self.response("failed", error=response_error(error))

    def stop(self) -> bytes:
        """Close what is open because nothing more will come."""
        return self._greet() + self._close_all("incomplete")

    def fail(self, error: InhouseError) -> bytes:
        """Close what is open and report a failure: an error event, then ``response.failed``."""
        if not self.streaming:
            return dumps(error_body(error))
        out = self.stop() + self.say(b"error", error_event(error))
        return out + self.say(b"response.failed", {"response": self.failed(error)})

    def keepalive(self) -> bytes:
        """A comment."""
        return b": keep-alive\n\n" if self.streaming else b""

    def say(self, kind: bytes, fields: dict[str, Any]) -> bytes:
        """One server-sent event; nothing when the answer is not streamed."""
        if not self.streaming:
            return b""
        number, self._sequence = self._sequence, self._sequence + 1
        head = b'event: %b\ndata: {"type":"%b","sequence_number":%d,' % (kind, kind, number)
        return head + dumps(fields)[1:] + b"\n\n"

    def _delta(self, output: Output, text: str) -> bytes:
        """The hot path: a piece of text without more."""
        output.pieces.append(text)
        if not self.streaming or not text:
            return b""
        number, self._sequence = self._sequence, self._sequence + 1
        before, between, after = output.around
        out = b"%b%d%b%b%b" % (before, number, between, quote(text), after)
        return self._padded(out) if self._style.obfuscate else out

    def _padded(self, delta: bytes) -> bytes:
        """A delta event of a size that says less of the length of its text."""
        return delta[: -len(_END)] + padding(len(delta)) + _END

    def _greet(self) -> bytes:
        if self._greeted:
            return b""
        self._greeted = True
        if not self._style.queued:
            begun = {"response": self.response("in_progress")}
            return self.say(b"response.created", begun) + self.say(b"response.in_progress", begun)
        queued = {"response": self.response("queued")}
        return (
            self.say(b"response.created", queued)
            + self.say(b"response.queued", queued)
            + self.say(b"response.in_progress", {"response": self.response("in_progress")})
        )

    def _begin(self, output: Output) -> bytes:
        self.begun = True
        self._outputs.append(output)
        added = {"output_index": output.index, "item": output.item()}
        return self.say(b"response.output_item.added", added) + output.opening(self.say)

    def _close(self, output: Output, status: str) -> bytes:
        if output.status != "in_progress":
            return b""
        output.status = status
        done = output.closing(self.say)
        return done + self.say(
            b"response.output_item.done", {"output_index": output.index, "item": output.item()}
        )

    def _close_open(self) -> bytes:
        current, self._open = self._open, None
        return b"" if current is None else self._close(current, "completed")

    def _close_all(self, last: str) -> bytes:
        """Close every item; the last one gets the status ``last``."""
        self._open = None
        return b"".join(
            self._close(output, last if output is self._outputs[-1] else "completed")
            for output in self._outputs
        )

    def _on_text(self, event: TextDelta) -> bytes:
        current, out = self._open, b""
        if not isinstance(current, MessageOutput):
            if not event.text and not event.logprobs:
                return self._greet()
            out = self._greet() + self._close_open()
            current = self._open = MessageOutput(len(self._outputs))
            out += self._begin(current)
        if not event.logprobs:
            return out + self._delta(current, event.text)
        delta = current.with_logprobs(event, self.say)
        return out + (self._padded(delta) if delta and self._style.obfuscate else delta)

    def _on_reasoning(self, event: ReasoningDelta) -> bytes:
        current, out = self._open, b""
        if not isinstance(current, ReasoningOutput):
            if not event.text:
                return self._greet()
            out = self._greet() + self._close_open()
            current = self._open = ReasoningOutput(
                len(self._outputs), self._style.summary, self._style.sealed
            )
            out += self._begin(current)
        return out + self._delta(current, event.text)

    def _on_call(self, event: ToolCallDelta) -> bytes:
        call, out = self._calls.get(event.call), b""
        if call is None:
            offer = self._offers.get(event.name or "") or Offer(event.name or "")
            make = CustomOutput if offer.custom else CallOutput
            call = self._calls[event.call] = make(len(self._outputs), offer, call_id(event.id))
            out = self._greet() + self._close_open() + self._begin(call)
        return out + self._delta(call, call.take(event.arguments))

    def _on_end(self, event: ChoiceEnd) -> bytes:
        self._reason = event.reason
        out = self._greet()
        if not self._outputs:
            out += self._begin(MessageOutput(0))
        for call in self._calls.values():
            out += self._delta(call, call.rest())
        return out + self._close_all("incomplete" if event.reason == "length" else "completed")

    def _on_finished(self, event: Finished) -> bytes:
        final = self.settle(event)
        if not self.streaming:
            return dumps(final)
        return self.say(b"response." + final["status"].encode(), {"response": final})

    def _on_notice(self, event: Notice) -> bytes:
        self._notices.append(event)
        return b""

    def _on_progress(self, event: Progress) -> bytes:
        return b": prefill %d/%d\n\n" % (event.processed, event.total) if self.streaming else b""


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
