"""Server-sent events of one message.

    message_start · ping · (content_block_start · content_block_delta* · content_block_stop)*
    · message_delta · message_stop

A block is closed before the next opens; numbers of blocks rise by one. The exact usage comes with
message_delta; message_start has what was known when the prompt began to be read. Everything that is
constant in a block is made when it opens; per token only its text is encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...core.errors import InhouseError
from ...core.events import (
    ChoiceEnd,
    Event,
    Finished,
    Notice,
    Progress,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from ...core.usage import Usage
from ..fold import unended, warnings_of
from ..wire import dumps, quote
from .errors import error_body
from .shapes import ContentDelta, Head, Key, Order, call_id, key_of, says
from .thinking import Signer

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_FIELDS = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), dumps({"type": name, **fields}))


class MessageStream:
    """The streaming encoder."""

    media_type = "text/event-stream"
    streaming = True

    def __init__(self, head: Head) -> None:
        self.head = head
        self._begun = False
        self._index = -1
        self._key: Key | None = None
        self._before = self._after = b""
        self._signer: Signer | None = None
        self._order = Order()
        self._end: ChoiceEnd | None = None
        self._notices: list[Notice] = []
        self._by_type: dict[type, Callable[[Any], bytes]] = {
            TextDelta: self._on_delta,
            ReasoningDelta: self._on_delta,
            ToolCallDelta: self._on_delta,
            Progress: self._on_progress,
            Notice: self._on_notice,
            ChoiceEnd: self._on_end,
            Finished: self._on_finished,
        }

    def feed(self, event: Event) -> bytes:
        """Bytes for one event. Raises EngineError when the answer finishes without an end."""
        if type(event) is TextDelta and self._key is not None and self._key[0] == "text":
            return self._before + quote(event.text) + self._after if event.text else b""
        handler = self._by_type.get(type(event))
        return handler(event) if handler is not None else b""

    def fail(self, error: InhouseError) -> bytes:
        """An error event and nothing after it."""
        return b"event: error\ndata: %b\n\n" % dumps(error_body(error))

    def keepalive(self) -> bytes:
        return PING if self._begun else self._start(Usage())

    def _start(self, used: Usage) -> bytes:
        self._begun = True
        message = self.head.message([], self.head.usage(used))
        return _event("message_start", {"message": message}) + PING

    def _on_progress(self, event: Progress) -> bytes:
        if not self._begun:
            return self._start(Usage(prompt_tokens=event.total, cached_tokens=event.cached))
        return b": prefill %d/%d\n\n" % (event.processed, event.total)

    def _on_notice(self, event: Notice) -> bytes:
        self._notices.append(event)
        return b""

    def _on_delta(self, event: ContentDelta) -> bytes:
        if not says(event):
            return b""
        key = key_of(event)
        opened = b"" if key == self._key else self._open(key, event)
        if isinstance(event, ToolCallDelta):
            return opened + (self._before + quote(event.arguments) + self._after if event.arguments else b"")
        if self._signer is not None:
            self._signer.add(event.text)
            if self.head.hidden:
                return opened
        return opened + self._before + quote(event.text) + self._after

    def _open(self, key: Key, event: ContentDelta) -> bytes:
        """Close the open block, open the next; a call's input begins with an empty piece."""
        before = b"" if self._begun else self._start(Usage())
        before += self._close()
        self._order.opens(key)
        self._key = key
        self._index += 1
        block: dict[str, Any]
        if isinstance(event, ToolCallDelta):
            block = {"type": "tool_use", "id": call_id(), "name": event.name or "", "input": {}}
            kind, name = "input_json_delta", "partial_json"
        else:
            kind, name = _FIELDS[key[0]]
            block = {"type": key[0], key[0]: ""}
            if key[0] == "thinking":
                block["signature"] = ""
                self._signer = Signer(self.head.hidden)
        self._before = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"%b","%b":' % (self._index, kind.encode(), name.encode())
        )
        self._after = b"}}\n\n"
        start = _event("content_block_start", {"index": self._index, "content_block": block})
        first = self._before + b'""' + self._after if key[0] == "tool_use" else b""
        return before + start + first

    def _close(self) -> bytes:
        """The end of the open block; thoughts are signed first."""
        if self._key is None:
            return b""
        self._key = None
        signed = b""
        if self._signer is not None:
            delta = {"type": "signature_delta", "signature": self._signer.signature()}
            signed = _event("content_block_delta", {"index": self._index, "delta": delta})
            self._signer = None
        return signed + _event("content_block_stop", {"index": self._index})

    def _on_end(self, event: ChoiceEnd) -> bytes:
        self._end = event
        return (b"" if self._begun else self._start(Usage())) + self._close()

    def _on_finished(self, event: Finished) -> bytes:
        if self._end is None:
            raise unended()
        used = self.head.usage(event.usage)
        fields: dict[str, Any] = {
            "delta": self.head.stopped(self._end, self._order.called, event.usage),
            "usage": {name: used[name] for name in used if name not in ("cache_creation", "service_tier")},
            **self.head.more(),
        }
        if self._notices:
            fields["warnings"] = warnings_of(self._notices)
        return _event("message_delta", fields) + _STOP
