"""Encoders of /v1/chat/completions: streamed and whole."""

from __future__ import annotations

from typing import Any

from ...core.errors import InhouseError
from ...core.events import Event, ReasoningDelta, TextDelta, ToolCallDelta
from ..fold import Choice, Fold, warnings_of
from ..wire import dumps, quote
from .errors import error_body
from .shapes import Head, call_id, chat_logprobs, finish_reason, usage_of
from .stream import EventStream


class ChatStream(EventStream):
    """Chunks of ``chat.completion.chunk``: the role first, then deltas, then one finish per choice."""

    def __init__(self, head: Head, n: int, *, include_usage: bool = False) -> None:
        super().__init__(head, n, include_usage=include_usage, suffix=".chunk")
        self._calls: set[tuple[int, int]] = set()
        self._by_type[ReasoningDelta] = self._on_reasoning
        self._by_type[ToolCallDelta] = self._on_call

    def _delta(self, index: int, name: bytes) -> tuple[bytes, bytes]:
        before = self._open + b'"choices":[{"index":%d,"delta":{"%b":' % (index, name)
        return before, b'},"logprobs":null,"finish_reason":null}]' + self._close

    def _text_around(self, index: int) -> tuple[bytes, bytes]:
        return self._delta(index, b"content")

    def _begin(self, index: int) -> bytes:
        delta = {"role": "assistant", "content": "", "refusal": None}
        return self._chunk({"index": index, "delta": delta, "logprobs": None, "finish_reason": None})

    def _finish(self, index: int, reason: str) -> dict[str, Any]:
        return {"index": index, "delta": {}, "logprobs": None, "finish_reason": reason}

    def _logprobs_chunk(self, event: TextDelta) -> bytes:
        return self._chunk(
            {
                "index": event.index,
                "delta": {"content": event.text},
                "logprobs": chat_logprobs(event.logprobs),
                "finish_reason": None,
            }
        )

    def _on_reasoning(self, event: ReasoningDelta) -> bytes:
        opened = self._opened(event.index)
        before, after = self._delta(event.index, b"reasoning_content")
        return opened + before + quote(event.text) + after

    def _on_call(self, event: ToolCallDelta) -> bytes:
        opened = self._opened(event.index)
        call: dict[str, Any] = {"index": event.call}
        if (event.index, event.call) not in self._calls:
            self._calls.add((event.index, event.call))
            self._called.add(event.index)
            call |= {"id": call_id(event.id), "type": "function"}
            call["function"] = {"name": event.name or "", "arguments": event.arguments}
        else:
            call["function"] = {"arguments": event.arguments}
        delta = {"tool_calls": [call]}
        return opened + self._chunk(
            {"index": event.index, "delta": delta, "logprobs": None, "finish_reason": None}
        )


class WholeAnswer:
    """Base of the encoders that send one JSON body when the answer is whole."""

    media_type = "application/json"
    streaming = False

    def __init__(self) -> None:
        self._fold = Fold()

    def feed(self, event: Event) -> bytes:
        """Nothing until Finished, then the body. Raises EngineError when a choice never ended."""
        return b"" if self._fold.feed(event) is None else dumps(self._body())

    def fail(self, error: InhouseError) -> bytes:
        """The error object; the server sends it with a status of its own."""
        return dumps(error_body(error))

    def keepalive(self) -> bytes:
        return b""

    def _body(self) -> dict[str, Any]:
        raise NotImplementedError

    def _ending(self) -> dict[str, Any]:
        """usage, and warnings when there are any."""
        assert self._fold.finished is not None  # noqa: S101  # only called at Finished
        ending: dict[str, Any] = {"usage": usage_of(self._fold.finished.usage)}
        if self._fold.notices:
            ending["warnings"] = warnings_of(self._fold.notices)
        return ending


class ChatWhole(WholeAnswer):
    """One ``chat.completion``."""

    def __init__(self, head: Head, n: int) -> None:
        super().__init__()
        self._head = head
        self._n = n

    def _body(self) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                "message": _message(choice),
                "logprobs": chat_logprobs(choice.logprobs) if choice.logprobs else None,
                "finish_reason": finish_reason(reason, bool(choice.calls)),
            }
            for index, choice, reason in self._fold.ended(self._n)
        ]
        return {**self._head.fields(), "choices": choices, **self._ending()}


def _message(choice: Choice) -> dict[str, Any]:
    text = "".join(choice.text)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not choice.calls else None,
        "refusal": None,
    }
    if choice.reasoning:
        message["reasoning_content"] = "".join(choice.reasoning)
    if choice.calls:
        message["tool_calls"] = [
            {
                "id": call_id(call.id),
                "type": "function",
                "function": {"name": call.name, "arguments": "".join(call.arguments)},
            }
            for _, call in sorted(choice.calls.items())
        ]
    return message
