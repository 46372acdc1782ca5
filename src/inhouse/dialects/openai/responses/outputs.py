"""The items of an answer while they come: what they are, and the events that open and close them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....core.events import TextDelta, TokenLogprob
from ...wire import dumps, finite
from ..custom import InputText
from .names import item_id
from .sealed import seal
from .tools import Offer

Say = Callable[[bytes, dict[str, Any]], bytes]


class Output:
    """One item. ``around`` are the bytes of a delta event before its number, before its text and after."""

    kind = ""
    delta = b""
    tail = b"}\n\n"

    def __init__(self, index: int, within: dict[str, Any] | None = None) -> None:
        self.index = index
        self.id = item_id(self.kind)
        self.status = "in_progress"
        self.pieces: list[str] = []
        self.place = {"item_id": self.id, "output_index": index, **(within or {})}
        self.around = (
            b'event: %b\ndata: {"type":"%b","sequence_number":' % (self.delta, self.delta),
            b"," + dumps(self.place)[1:-1] + b',"delta":',
            self.tail,
        )

    @property
    def text(self) -> str:
        """All that has come."""
        return "".join(self.pieces)

    def item(self) -> dict[str, Any]:
        """The item as it is now."""
        raise NotImplementedError

    def opening(self, say: Say) -> bytes:
        """Events after ``output_item.added``."""
        return b""

    def closing(self, say: Say) -> bytes:
        """Events before ``output_item.done``."""
        raise NotImplementedError


class MessageOutput(Output):
    """A message with one text part, none before the part was opened."""

    kind = "message"
    delta = b"response.output_text.delta"
    tail = b',"logprobs":[]}\n\n'

    def __init__(self, index: int) -> None:
        super().__init__(index, {"content_index": 0})
        self._logprobs: list[TokenLogprob] = []
        self._opened = False

    def _part(self) -> dict[str, Any]:
        logprobs = [_logprob(one, with_bytes=True) for one in self._logprobs]
        return {"type": "output_text", "annotations": [], "logprobs": logprobs, "text": self.text}

    def item(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "status": self.status,
            "role": "assistant",
            "content": [self._part()] if self._opened else [],
        }

    def opening(self, say: Say) -> bytes:
        self._opened = True
        return say(b"response.content_part.added", {**self.place, "part": self._part()})

    def with_logprobs(self, event: TextDelta, say: Say) -> bytes:
        """A delta that carries the log-probabilities of its tokens."""
        self.pieces.append(event.text)
        self._logprobs += event.logprobs
        logprobs = [_logprob(one) for one in event.logprobs]
        return say(self.delta, {**self.place, "delta": event.text, "logprobs": logprobs})

    def closing(self, say: Say) -> bytes:
        logprobs = [_logprob(one) for one in self._logprobs]
        done = {**self.place, "text": self.text, "logprobs": logprobs}
        return say(b"response.output_text.done", done) + say(
            b"response.content_part.done", {**self.place, "part": self._part()}
        )


class ReasoningOutput(Output):
    """What the model thought: as content, or as the summary where the client asked for one."""

    kind = "reasoning"

    def __init__(self, index: int, summary: bool, sealed: bool) -> None:
        self._summary = summary
        self._sealed = sealed
        self._opened = False
        word = b"summary_" if summary else b""
        self._done = b"response.reasoning_%btext.done" % word
        self._parts = b"response.reasoning_summary_part" if summary else b"response.content_part"
        self.delta = b"response.reasoning_%btext.delta" % word
        super().__init__(index, {"summary_index": 0} if summary else {"content_index": 0})

    def _part(self) -> dict[str, Any]:
        return {"type": "summary_text" if self._summary else "reasoning_text", "text": self.text}

    def item(self) -> dict[str, Any]:
        shown = [self._part()] if self._opened else []
        item: dict[str, Any] = {
            "id": self.id,
            "type": "reasoning",
            "status": self.status,
            "summary": shown if self._summary else [],
        }
        if not self._summary:
            item["content"] = shown
        if self._sealed:
            item["encrypted_content"] = seal(self.text)
        return item

    def opening(self, say: Say) -> bytes:
        self._opened = True
        return say(self._parts + b".added", {**self.place, "part": self._part()})

    def closing(self, say: Say) -> bytes:
        return say(self._done, {**self.place, "text": self.text}) + say(
            self._parts + b".done", {**self.place, "part": self._part()}
        )


class CallOutput(Output):
    """A call of a function; its arguments come in pieces."""

    kind = "function_call"
    delta = b"response.function_call_arguments.delta"

    def __init__(self, index: int, offer: Offer, call_id: str) -> None:
        super().__init__(index)
        self._offer = offer
        self._call_id = call_id

    def _named(self) -> dict[str, Any]:
        named = {"call_id": self._call_id, "name": self._offer.name}
        return named | ({"namespace": self._offer.namespace} if self._offer.namespace else {})

    def take(self, arguments: str) -> str:
        """What a piece of the engine's arguments adds to the text of the call."""
        return arguments

    def rest(self) -> str:
        """What is left when the call is complete."""
        return ""

    def item(self) -> dict[str, Any]:
        named = self._named()
        return {
            "id": self.id, "type": "function_call", "status": self.status, "arguments": self.text, **named,
        }  # fmt: skip

    def closing(self, say: Say) -> bytes:
        done = {**self.place, "name": self._offer.name, "arguments": self.text}
        return say(b"response.function_call_arguments.done", done)


class CustomOutput(CallOutput):
    """A call of a custom tool: its input is text."""

    kind = "custom_tool_call"
    delta = b"response.custom_tool_call_input.delta"

    def __init__(self, index: int, offer: Offer, call_id: str) -> None:
        super().__init__(index, offer, call_id)
        self._input = InputText()

    def take(self, arguments: str) -> str:
        return self._input.add(arguments)

    def rest(self) -> str:
        return self._input.end()

    def item(self) -> dict[str, Any]:
        named = self._named()
        return {
            "id": self.id, "type": "custom_tool_call", "status": self.status, "input": self.text, **named,
        }  # fmt: skip

    def closing(self, say: Say) -> bytes:
        return say(b"response.custom_tool_call_input.done", {**self.place, "input": self.text})


def _logprob(one: TokenLogprob, *, with_bytes: bool = False) -> dict[str, Any]:
    """A token of an item has bytes, one of an event has none."""

    def shown(token: str, logprob: float, raw: bytes) -> dict[str, Any]:
        named: dict[str, Any] = {"token": token, "logprob": finite(logprob)}
        return named | ({"bytes": list(raw)} if with_bytes else {})

    top = [shown(other.token, other.logprob, other.bytes) for other in one.top]
    return {**shown(one.token, one.logprob, one.bytes), "top_logprobs": top}
