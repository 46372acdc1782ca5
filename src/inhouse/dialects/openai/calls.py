"""How the calls of an answer are written: of functions, of custom tools, and in the deprecated way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.events import ToolCallDelta
from ..fold import Call
from .custom import InputText
from .shapes import call_id


@dataclass(frozen=True, slots=True)
class CallStyle:
    """``custom``: names of the tools whose input is a text. ``legacy``: the deprecated function_call."""

    custom: frozenset[str] = frozenset()
    legacy: bool = False

    @property
    def reason(self) -> str:
        """The finish reason of a choice that calls."""
        return "function_call" if self.legacy else "tool_calls"

    def whole(self, calls: dict[int, Call]) -> dict[str, Any]:
        """The fields of a message for the calls of one choice."""
        made = [call for _, call in sorted(calls.items())]
        if not made:
            return {}
        if self.legacy:
            return {"function_call": {"name": made[0].name, "arguments": "".join(made[0].arguments)}}
        return {"tool_calls": [self._one(call) for call in made]}

    def _one(self, call: Call) -> dict[str, Any]:
        arguments = "".join(call.arguments)
        if call.name in self.custom:
            reader = InputText()
            inner = {"name": call.name, "input": reader.add(arguments) + reader.end()}
            return {"id": call_id(call.id), "type": "custom", "custom": inner}
        inner = {"name": call.name, "arguments": arguments}
        return {"id": call_id(call.id), "type": "function", "function": inner}


class CallDeltas:
    """The calls of a stream as deltas of a choice."""

    def __init__(self, style: CallStyle) -> None:
        self._style = style
        self._seen: set[tuple[int, int]] = set()
        self._texts: dict[tuple[int, int], InputText] = {}
        self._single: dict[int, int] = {}

    def delta(self, event: ToolCallDelta) -> dict[str, Any] | None:
        """The delta of an event; None when there is nothing to say yet."""
        key = (event.index, event.call)
        first = key not in self._seen
        self._seen.add(key)
        if self._style.legacy:
            return self._legacy(event, first)
        kind, field, text = "function", "arguments", event.arguments
        if first and event.name in self._style.custom:
            self._texts[key] = InputText()
        if (reader := self._texts.get(key)) is not None:
            kind, field, text = "custom", "input", reader.add(event.arguments)
        call: dict[str, Any] = {"index": event.call}
        if first:
            call |= {"id": call_id(event.id), "type": kind, kind: {"name": event.name or "", field: text}}
        elif text:
            call[kind] = {field: text}
        else:
            return None
        return {"tool_calls": [call]}

    def rest(self, index: int) -> list[dict[str, Any]]:
        """What is left to say of a choice's calls when it ends."""
        left = [(call, text.end()) for (at, call), text in self._texts.items() if at == index]
        return [{"tool_calls": [{"index": call, "custom": {"input": text}}]} for call, text in left if text]

    def _legacy(self, event: ToolCallDelta, first: bool) -> dict[str, Any] | None:
        if self._single.setdefault(event.index, event.call) != event.call:
            return None  # there is room for one call
        named = {"name": event.name or ""} if first else {}
        return {"function_call": {**named, "arguments": event.arguments}}
