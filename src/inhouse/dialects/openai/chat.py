"""Encoders of /v1/chat/completions: streamed and whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...core.errors import InhouseError
from ...core.events import ChoiceEnd, Event, ReasoningDelta, TextDelta, ToolCallDelta
from ..fold import Choice, Fold, warnings_of
from ..wire import dumps, quote
from .calls import CallDeltas, CallStyle
from .errors import error_body
from .shapes import Head, chat_logprobs, finish_reason, usage_of
from .stream import EventStream, StreamOptions


class ChatStream(EventStream):
    """Chunks of ``chat.completion.chunk``: the role first, then deltas, then one finish per choice."""

    def __init__(self, head: Head, n: int, options: StreamOptions, *, style: CallStyle = CallStyle()) -> None:
        super().__init__(head, n, options, suffix=".chunk")
        self.call_reason = style.reason
        self._calls = CallDeltas(style)
        self._silent: set[int] = set()
        self._by_type[ReasoningDelta] = self._on_reasoning
        self._by_type[ToolCallDelta] = self._on_call

    def _delta(self, index: int, name: bytes) -> tuple[bytes, bytes]:
        before = self._open + b'"choices":[{"index":%d,"delta":{"%b":' % (index, name)
        return before, b'},"logprobs":null,"finish_reason":null}]'

    def _text_around(self, index: int) -> tuple[bytes, bytes]:
        self._silent.discard(index)
        return self._delta(index, b"content")

    def _begin(self, index: int, *, text: bool) -> bytes:
        if not text:
            self._silent.add(index)
        return self._of(index, {"role": "assistant", "content": "" if text else None, "refusal": None})

    def _of(self, index: int, delta: dict[str, Any]) -> bytes:
        return self._chunk({"index": index, "delta": delta, "logprobs": None, "finish_reason": None})

    def _finish(self, index: int, reason: str) -> dict[str, Any]:
        # A choice of reasoning alone has an empty text, as in the whole answer.
        silent = index in self._silent and index not in self._called
        delta = {"content": ""} if silent else {}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}

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
        # Of the two names in use some clients know only one: DeepSeek's, or that of vLLM and Ollama.
        before, after = self._delta(event.index, b"reasoning_content")
        return opened + self._plain((before + quote(event.text) + b',"reasoning":', after), event.text)

    def _on_call(self, event: ToolCallDelta) -> bytes:
        opened = self._opened(event.index)
        self._called.add(event.index)
        delta = self._calls.delta(event)
        return opened if delta is None else opened + self._of(event.index, delta)

    def _on_end(self, event: ChoiceEnd) -> bytes:
        left = b"".join(self._of(event.index, delta) for delta in self._calls.rest(event.index))
        return left + super()._on_end(event)


class WholeAnswer:
    """Base of the encoders that send one JSON body when the answer is whole."""

    media_type = "application/json"
    streaming = False

    def __init__(self) -> None:
        self._fold = Fold()

    def feed(self, event: Event) -> bytes:
        """Nothing until Finished, then the body. Raises EngineError when a choice never ended."""
        return b"" if self._fold.feed(event) is None else dumps(self.body())

    def fail(self, error: InhouseError) -> bytes:
        """The error object; the server sends it with a status of its own."""
        return dumps(error_body(error))

    def keepalive(self) -> bytes:
        return b""

    def body(self) -> dict[str, Any]:
        """The body as an object, once Finished came."""
        raise NotImplementedError

    def _opening(self, head: Head) -> dict[str, Any]:
        """What the body begins with."""
        return replace(head, build=self._fold.started.build).fields()

    def _ending(self) -> dict[str, Any]:
        """usage, and warnings when there are any."""
        assert self._fold.finished is not None  # noqa: S101  # only called at Finished
        ending: dict[str, Any] = {"usage": usage_of(self._fold.finished.usage)}
        if self._fold.notices:
            ending["warnings"] = warnings_of(self._fold.notices)
        return ending


class ChatWhole(WholeAnswer):
    """One ``chat.completion``; ``metadata`` is told of one that is kept."""

    def __init__(
        self,
        head: Head,
        n: int,
        *,
        style: CallStyle = CallStyle(),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.head = head
        self._n = n
        self._style = style
        self.metadata = metadata

    def body(self) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                "message": self._message(choice),
                "logprobs": chat_logprobs(choice.logprobs) if choice.logprobs else None,
                "finish_reason": finish_reason(reason, self._style.reason if choice.calls else ""),
            }
            for index, choice, reason in self._fold.ended(self._n)
        ]
        body = {**self._opening(self.head), "choices": choices, **self._ending()}
        return body if self.metadata is None else {**body, "metadata": dict(self.metadata)}

    def _message(self, choice: Choice) -> dict[str, Any]:
        text = "".join(choice.text)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text if text or not choice.calls else None,
            "refusal": None,
        }
        if choice.reasoning:
            message["reasoning_content"] = message["reasoning"] = "".join(choice.reasoning)
        return message | self._style.whole(choice.calls)
