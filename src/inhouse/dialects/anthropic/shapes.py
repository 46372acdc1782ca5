"""Pieces of answers that the streamed and the whole message share."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from ...core.errors import EngineError
from ...core.events import ChoiceEnd, ReasoningDelta, TextDelta, ToolCallDelta
from ...core.usage import Usage

ContentDelta = TextDelta | ReasoningDelta | ToolCallDelta
Key = tuple[str, int]
"""The kind of a content block and, for a call, which one."""
_TYPES = {TextDelta: "text", ReasoningDelta: "thinking"}


@dataclass(frozen=True, slots=True)
class Head:
    """What an answer needs of its request. ``pin`` are the seconds the prompt is kept, ``edits`` says
    that context management was asked for, ``diagnosed`` that cache diagnostics were."""

    model: str
    max_tokens: int
    stops: tuple[str, ...] = ()
    pin: float | None = None
    hidden: bool = False
    edits: bool = False
    diagnosed: bool = False
    id: str = field(default_factory=lambda: f"msg_{secrets.token_hex(12)}")

    def message(self, content: list[dict[str, Any]], usage: dict[str, Any]) -> dict[str, Any]:
        """The message object, not yet stopped."""
        out: dict[str, Any] = {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        if self.diagnosed:
            out["diagnostics"] = {"cache_miss_reason": {"type": "unavailable"}}
        return out

    def more(self) -> dict[str, Any]:
        """What stands beside the stop reason when it was asked for."""
        return {"context_management": {"applied_edits": []}} if self.edits else {}

    def usage(self, used: Usage) -> dict[str, Any]:
        """The ``usage`` object; the three input figures add up to the prompt.

        The cache is spoken of to those who ask for it. With a breakpoint all that was not read from it is
        counted as written to it; without, all is input, as the counting route counts it.
        """
        read = min(used.cached_tokens, used.prompt_tokens) if self.pin is not None else 0
        fresh = used.prompt_tokens - read
        written = fresh if self.pin is not None else 0
        long = self.pin is not None and self.pin > 300
        return {
            "input_tokens": fresh - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 0 if long else written,
                "ephemeral_1h_input_tokens": written if long else 0,
            },
            "output_tokens": used.completion_tokens,
            "output_tokens_details": {"thinking_tokens": used.reasoning_tokens},
            "service_tier": "standard",
        }

    def stopped(self, end: ChoiceEnd, called: bool, used: Usage) -> dict[str, Any]:
        """``stop_reason`` and ``stop_sequence``. A model's own stop text is the end of its turn."""
        if end.reason == "length":
            full = used.completion_tokens < self.max_tokens
            return _stop("model_context_window_exceeded" if full else "max_tokens")
        if not self.max_tokens:
            return _stop("max_tokens")
        if end.stop is not None and end.stop in self.stops:
            return _stop("stop_sequence", end.stop)
        return _stop("tool_use" if called else "end_turn")


def _stop(reason: str, sequence: str | None = None) -> dict[str, Any]:
    return {"stop_reason": reason, "stop_sequence": sequence}


def key_of(event: ContentDelta) -> Key:
    """The block that a delta belongs to."""
    return ("tool_use", event.call) if isinstance(event, ToolCallDelta) else (_TYPES[type(event)], -1)


def says(event: ContentDelta) -> bool:
    """Whether a delta may open a block: empty text may not, a call always does."""
    return isinstance(event, ToolCallDelta) or bool(event.text)


def call_id() -> str:
    """A fresh id of a call: an engine's own may come again, and ids must not within a conversation."""
    return f"toolu_{secrets.token_hex(12)}"


class Order:
    """Sees to it that calls come one after another, as blocks must."""

    __slots__ = ("_last", "called")

    def __init__(self) -> None:
        self.called = False
        self._last = -1

    def opens(self, key: Key) -> None:
        """A new block begins. Raises EngineError for a call that was closed before."""
        if key[0] != "tool_use":
            return
        if key[1] <= self._last:
            raise EngineError("The engine went back to a finished tool call.", hint="Try again.")
        self._last, self.called = key[1], True
