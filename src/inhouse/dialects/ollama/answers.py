"""Encoders of /api/chat and /api/generate: NDJSON lines, or one JSON object.

Tool calls go out whole, each as soon as it is complete, because their arguments are objects here.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from ...core.errors import InhouseError
from ...core.events import (
    ChoiceEnd,
    Event,
    Finished,
    Notice,
    Progress,
    Reason,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
)
from ..fold import Call, Choice, Fold, unended, warnings_of
from ..wire import dumps, finite, quote
from .errors import error_text
from .shapes import DONE_REASONS, Shape, final_fields
from .times import Stamper


def arguments_object(text: str) -> dict[str, Any]:
    """The arguments as an object; what is none is kept under ``raw`` and not lost."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {"raw": text}
    return value if isinstance(value, dict) else {"raw": text}


def tool_calls(calls: list[tuple[int, Call]]) -> list[dict[str, Any]]:
    """Complete calls as Ollama shows them."""
    return [
        {
            "id": f"call_{secrets.token_hex(4)}",
            "function": {
                "index": index,
                "name": call.name,
                "arguments": arguments_object("".join(call.arguments)),
            },
        }
        for index, call in calls
    ]


def logprobs_of(tokens: list[TokenLogprob] | tuple[TokenLogprob, ...]) -> list[dict[str, Any]]:
    """The ``logprobs`` list."""
    out = []
    for t in tokens:
        one = {"token": t.token, "logprob": finite(t.logprob), "bytes": list(t.bytes)}
        if t.top:
            one["top_logprobs"] = [
                {"token": o.token, "logprob": finite(o.logprob), "bytes": list(o.bytes)} for o in t.top
            ]
        out.append(one)
    return out


class Lines:
    """One JSON object a line; the last has ``done: true`` and the figures."""

    media_type = "application/x-ndjson"
    streaming = True

    def __init__(self, model: str, shape: Shape, stamper: Stamper | None = None) -> None:
        self._shape = shape
        self._stamp = stamper or Stamper()
        self._head = b'{"model":' + quote(model) + b',"created_at":"'
        self._before = shape.text_before
        self._after = shape.text_after + b',"done":false}\n'
        self._calls: dict[int, Call] = {}
        self._notices: list[Notice] = []
        self._reason: Reason | None = None
        self._progress: Progress | None = None

    def feed(self, event: Event) -> bytes:
        """Bytes for one event. Raises EngineError when the answer finishes without having ended."""
        if type(event) is TextDelta and not event.logprobs:
            return self._head + self._stamp() + self._before + quote(event.text) + self._after
        match event:
            case TextDelta(text, _, logprobs):
                return self._line(self._shape.text(text), {"logprobs": logprobs_of(logprobs)})
            case ReasoningDelta(text):
                before = self._shape.thinking_before
                return self._head + self._stamp() + before + quote(text) + self._after
            case ToolCallDelta():
                return self._on_call(event)
            case ChoiceEnd(reason):
                self._reason = reason
                return self._calls_done()
            case Notice():
                self._notices.append(event)
            case Progress():
                self._progress = event
            case Finished():
                return self._on_finished(event)
            case _:
                pass
        return b""

    def fail(self, error: InhouseError) -> bytes:
        """The error as the last line; what was open is dropped, never passed off as complete."""
        return dumps({"error": error_text(error)}) + b"\n"

    def keepalive(self) -> bytes:
        """An empty piece of the answer, with the prefill's progress if it is known."""
        extra = {}
        if self._progress is not None:
            extra["progress"] = {"processed": self._progress.processed, "total": self._progress.total}
        return self._line(self._shape.text(""), extra)

    def _line(self, piece: dict[str, Any], extra: dict[str, Any], done: bool = False) -> bytes:
        rest = dumps({**piece, "done": done, **extra})
        return self._head + self._stamp() + b'",' + rest[1:] + b"\n"

    def _on_call(self, event: ToolCallDelta) -> bytes:
        done = b"" if event.call in self._calls else self._calls_done()
        self._calls.setdefault(event.call, Call("", "")).add(event)
        return done

    def _calls_done(self) -> bytes:
        if not self._calls:
            return b""
        calls = tool_calls(sorted(self._calls.items()))
        self._calls.clear()
        return self._line(self._shape.tool_calls(calls), {})

    def _on_finished(self, event: Finished) -> bytes:
        if self._reason is None:
            raise unended()
        fields = {"done_reason": DONE_REASONS[self._reason], **final_fields(event, self._shape.context)}
        if self._notices:
            fields["warnings"] = warnings_of(self._notices)
        return self._line(self._shape.text(""), fields, done=True)


class Whole:
    """The same answer as one JSON object."""

    media_type = "application/json"
    streaming = False

    def __init__(self, model: str, shape: Shape, stamper: Stamper | None = None) -> None:
        self._model = model
        self._shape = shape
        self._stamp = stamper or Stamper()
        self._fold = Fold()

    def feed(self, event: Event) -> bytes:
        """Nothing until Finished, then the body. Raises EngineError when the answer never ended."""
        finished = self._fold.feed(event)
        if finished is None:
            return b""
        _, choice, reason = self._fold.ended(1)[0]
        body = {
            "model": self._model,
            "created_at": self._stamp().decode(),
            **self._piece(choice),
            "done": True,
            "done_reason": DONE_REASONS[reason],
            **final_fields(finished, self._shape.context),
        }
        if choice.logprobs:
            body["logprobs"] = logprobs_of(choice.logprobs)
        if self._fold.notices:
            body["warnings"] = warnings_of(self._fold.notices)
        return dumps(body)

    def fail(self, error: InhouseError) -> bytes:
        return dumps({"error": error_text(error)})

    def keepalive(self) -> bytes:
        return b""

    def _piece(self, choice: Choice) -> dict[str, Any]:
        piece = self._shape.text("".join(choice.text))
        if choice.reasoning:
            self._shape.merge(piece, "thinking", "".join(choice.reasoning))
        if choice.calls:
            self._shape.merge(piece, "tool_calls", tool_calls(sorted(choice.calls.items())))
        return piece
