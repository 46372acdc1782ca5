"""Calls that a grammar guarantees: read piece by piece, arguments streamed as they are written."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Literal

from ...core.events import Event, TokenLogprob, ToolCallDelta


def new_id() -> str:
    """A random id of a call."""
    return f"call_{secrets.token_hex(12)}"


class JsonSpan:
    """Finds the end of one JSON object or list, however the text is cut."""

    def __init__(self) -> None:
        self.depth = 0
        self.string = False
        self.escaped = False

    def feed(self, text: str, start: int = 0) -> int:
        """The index just after the value's end in ``text``, or -1 when it is not there yet."""
        for at in range(start, len(text)):
            char = text[at]
            if self.string:
                if self.escaped:
                    self.escaped = False
                elif char == "\\":
                    self.escaped = True
                elif char == '"':
                    self.string = False
            elif char == '"':
                self.string = True
            elif char in "{[":
                self.depth += 1
            elif char in "}]":
                self.depth -= 1
                if self.depth == 0:
                    return at + 1
        return -1


class ForcedCalls:
    """Reads one choice whose grammar admits only ``{"name": ..., "arguments": {...}}`` or a list."""

    def __init__(self, *, index: int = 0, make_id: Callable[[], str] = new_id) -> None:
        self._index = index
        self._make_id = make_id
        self._state: Literal["out", "object", "key", "colon", "name", "value", "arguments"] = "out"
        self._key = ""
        self._word = ""
        self._span = JsonSpan()
        self.calls = 0
        """Calls begun so far."""

    def feed(self, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> list[Event]:
        """Events of a piece of the constrained JSON; log-probabilities have no place in calls."""
        out: list[Event] = []
        at = 0
        while at < len(text):
            at = self._arguments(text, at, out) if self._state == "arguments" else self._char(text, at, out)
        return out

    def end(self) -> list[Event]:
        """Nothing is ever held back."""
        return []

    def _arguments(self, text: str, at: int, out: list[Event]) -> int:
        end = self._span.feed(text, at)
        part = text[at : end if end >= 0 else len(text)]
        if self.calls:
            out.append(ToolCallDelta(self.calls - 1, part, index=self._index))
        if end < 0:
            return len(text)
        self._state = "object"
        return end

    def _char(self, text: str, at: int, out: list[Event]) -> int:
        char = text[at]
        if self._state in {"key", "name"}:
            self._quoted(char, out)
        elif char.isspace():
            pass
        elif self._state == "out":
            self._state = "object" if char == "{" else "out"
        elif self._state == "object":
            self._state = {'"': "key", "}": "out"}.get(char, "object")  # type: ignore[assignment]
            self._word = ""
        elif self._state == "colon":
            self._state = "value"
        elif self._key == "name":
            self._state, self._word = "name", ""
        else:
            self._state, self._span = "arguments", JsonSpan()
            return at
        return at + 1

    def _quoted(self, char: str, out: list[Event]) -> None:
        """A character inside the string of a key or of the name."""
        if char != '"' or (len(self._word) - len(self._word.rstrip("\\"))) % 2:
            self._word += char
            return
        try:
            word = json.loads(f'"{self._word}"')
        except ValueError:  # an engine without its grammar; whoever looks at the call hears of it
            word = self._word
        if self._state == "key":
            self._key, self._state = word, "colon"
            return
        out.append(ToolCallDelta(self.calls, "", self._make_id(), word, self._index))
        self.calls += 1
        self._state = "object"
