"""The same message as one body, and the count of a prompt's tokens."""

from __future__ import annotations

from typing import Any

from ...core.errors import InhouseError
from ...core.events import ChoiceEnd, Event, Finished, Notice, ReasoningDelta, TextDelta, ToolCallDelta
from ..fold import unended, warnings_of
from ..wire import dumps
from .errors import error_body
from .partial import arguments_of
from .shapes import ContentDelta, Head, Key, Order, call_id, key_of, says
from .thinking import Signer


class _Whole:
    media_type = "application/json"
    streaming = False

    def fail(self, error: InhouseError) -> bytes:
        """The error object; the server sends it with a status of its own."""
        return dumps(error_body(error))

    def keepalive(self) -> bytes:
        return b""


class _Block:
    """One content block as far as it has come."""

    def __init__(self, key: Key, event: ContentDelta) -> None:
        self.key = key
        self.pieces: list[str] = []
        call = event if isinstance(event, ToolCallDelta) else None
        self._id, self._name = (call_id(), call.name or "") if call else ("", "")

    def object(self, hidden: bool) -> dict[str, Any]:
        text = "".join(self.pieces)
        if self.key[0] == "tool_use":
            return {"type": "tool_use", "id": self._id, "name": self._name, "input": arguments_of(text)}
        if self.key[0] == "text":
            return {"type": "text", "text": text}
        signer = Signer(hidden)
        signer.add(text)
        return {"type": "thinking", "thinking": "" if hidden else text, "signature": signer.signature()}


class MessageWhole(_Whole):
    """Collects the same blocks that a stream would send."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self._blocks: list[_Block] = []
        self._order = Order()
        self._end: ChoiceEnd | None = None
        self._notices: list[Notice] = []

    def feed(self, event: Event) -> bytes:
        """Nothing until Finished, then the body. Raises EngineError when the answer never ended."""
        match event:
            case TextDelta() | ReasoningDelta() | ToolCallDelta():
                self._add(event)
            case ChoiceEnd():
                self._end = event
            case Notice():
                self._notices.append(event)
            case Finished():
                return dumps(self._body(event))
            case _:
                pass
        return b""

    def _add(self, event: ContentDelta) -> None:
        if not says(event):
            return
        key = key_of(event)
        if not self._blocks or self._blocks[-1].key != key:
            self._order.opens(key)
            self._blocks.append(_Block(key, event))
        piece = event.arguments if isinstance(event, ToolCallDelta) else event.text
        self._blocks[-1].pieces.append(piece)

    def _body(self, finished: Finished) -> dict[str, Any]:
        if self._end is None:
            raise unended()
        content = [block.object(self.head.hidden) for block in self._blocks]
        body = self.head.message(content, self.head.usage(finished.usage))
        body |= self.head.stopped(self._end, self._order.called, finished.usage)
        body |= self.head.more()
        if self._notices:
            body["warnings"] = warnings_of(self._notices)
        return body


class CountWhole(_Whole):
    """``{"input_tokens": n}``. ``edits``: context management was asked for."""

    def __init__(self, *, edits: bool = False) -> None:
        self.edits = edits

    def feed(self, event: Event) -> bytes:
        """Nothing until Finished, then the body."""
        if not isinstance(event, Finished):
            return b""
        count = event.usage.prompt_tokens
        body: dict[str, Any] = {"input_tokens": count}
        if self.edits:
            body["context_management"] = {"original_input_tokens": count}
        return dumps(body)
