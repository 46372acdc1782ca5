"""Tool calls read out of text: pure state machines over the answer of one choice.

``CallScanner`` watches free text for what models write instead of proper calls: a JSON object (or a
list of them) with a declared name, bare at the start, in a fence, or between ``<tool_call>`` tags.
Text is held back only as long as it can still become a call, and comes out unchanged if it does
not.

Whoever runs the answer may make the arguments themselves (``begun``, ``commit``): then they are not
read from the text, but written under a grammar.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ...core.events import Event, TextDelta, TokenLogprob, ToolCallDelta
from .forced import JsonSpan, new_id

MAX_HELD = 256 * 1024
_TAG = "<tool_call>"
_FENCE = "```"
_LANGUAGES = ("", "json", "jsonc", "tool_call", "tool_code", "JSON")
_OPENING = re.compile(r"\s*(?:```(?P<language>[A-Za-z_]*)[ \t]*(?:\n\s*|(?=[{\[]))|<tool_call>\s*)?")
_BETWEEN = " \t\r\n,;"
_CANDIDATE = re.compile(r"<tool_call>|(?:^|(?<=\n))[ \t]*```", re.MULTILINE)
_SPACE = re.compile(r"\s+")
_BEGUN = re.compile(
    r'\[*(?:\{"tool_calls":\[)?\{(?:"type":"function",)?(?:"function":\{)?'
    r'"(?:name|function)":(?P<name>"(?:[^"\\]|\\.)*"),'
)
_NAMED = re.compile(r'\{"name":"(?:[^"\\]|\\.){0,64}(?:\\?\Z|"(?P<rest>.*)\Z)', re.DOTALL)
WORDS = ('"arguments":', '"parameters":')
"""What stands before the arguments of a call."""
Check = Callable[[str, str], str | None]
"""The function whose call is to be made again, by the name and the arguments of the one that was written."""


def heads(names: tuple[str, ...]) -> tuple[str, ...]:
    """How a call may begin, without any white space."""
    out = ['{"arguments":', '{"parameters":']
    for name in names:
        text = _SPACE.sub("", json.dumps(name, ensure_ascii=False))
        for front in ('{"name":', '{"function":', '{"type":"function","name":'):
            out.append(front + text)
        for front in ('{"function":{"name":', '{"type":"function","function":{"name":', '{"tool_calls":['):
            out.append(front + text if not front.endswith("[") else front)
    return tuple(dict.fromkeys(out))


def calls_of(value: Any, names: tuple[str, ...]) -> list[tuple[str, str]] | None:
    """Names and arguments (as JSON text) of a parsed value; None if it is no call of ``names``."""
    if isinstance(value, Mapping) and isinstance(value.get("tool_calls"), list):
        value = value["tool_calls"]
    items = value if isinstance(value, list) else [value]
    out: list[tuple[str, str]] = []
    for item in items:
        if isinstance(item, Mapping) and isinstance(item.get("function"), Mapping):
            item = item["function"]
        if not isinstance(item, Mapping):
            return None
        name = item.get("name", item.get("function"))
        arguments = item.get("arguments", item.get("parameters"))
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except ValueError:
                return None
        if name not in names or not isinstance(arguments, Mapping | None):
            return None
        out.append((name, json.dumps(arguments or {}, ensure_ascii=False)))
    return out or None


def _shape(value: Any) -> tuple[str, str] | None:
    """Name and arguments of an object that is a call and nothing else, whatever it calls."""
    if not isinstance(value, Mapping) or len(value) != 2:
        return None
    name, arguments = value.get("name"), value.get("arguments", value.get("parameters"))
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        return None
    return name, json.dumps(arguments, ensure_ascii=False)


class CallScanner:
    """Turns the text of one choice into text and call events."""

    def __init__(
        self,
        names: tuple[str, ...],
        *,
        index: int = 0,
        single: bool = False,
        first: int = 0,
        make_id: Callable[[], str] = new_id,
        check: Check | None = None,
    ) -> None:
        self._names = names
        self._check = check
        self._heads = heads(names)
        self._index = index
        self._single = single
        self._make_id = make_id
        self._held = ""
        self._logprobs: tuple[TokenLogprob, ...] = ()
        self._state: Literal["start", "text", "value", "deaf"] = "start"
        self._span = JsonSpan()
        self._seen = 0  # characters of ``_held`` that the span has read
        self._begin = 0  # where the value begins in ``_held``
        self._closer = ""  # what ends the fence or tag that a call stood in
        self._line = True  # the text given out so far ends a line
        self._braces = False  # brackets around a call that was committed are still to be closed
        self.calls = first
        """Calls seen so far in this choice."""
        self.refused: tuple[str, int] | None = None
        """The function whose call is to be made again, and how many characters the refused one takes up
        at the end of the text. Nothing more is read until ``commit``."""

    def begun(self) -> str | None:
        """The name of the declared function whose call has been opened and now wants its arguments."""
        if self._state != "value":
            return None
        match = _BEGUN.fullmatch(_SPACE.sub("", self._held[self._begin :]))
        try:
            name = json.loads(match["name"]) if match else None
        except ValueError:
            return None
        return name if name in self._names else None

    def commit(self, name: str) -> ToolCallDelta:
        """The head of a call whose arguments come from elsewhere; afterwards its brackets close."""
        self._held, self._logprobs, self.refused = "", (), None
        self._state, self._braces = "start", True
        self.calls += 1
        return ToolCallDelta(self.calls - 1, "", self._make_id(), name, self._index)

    def feed(self, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> list[Event]:
        """Events of a piece of text, maybe none yet."""
        if self._state == "deaf" or self.refused:
            return []
        self._held += text
        self._logprobs += logprobs
        out: list[Event] = []
        while self._held and self._step(out):
            pass
        return out

    def end(self) -> list[Event]:
        """What was still held back when the answer ended."""
        text, self._held = self._held, ""
        if self._braces:
            text = text.lstrip(_BETWEEN + "}]")
        if self._state == "deaf" or self.refused or (self.calls and not text.strip()):
            return []
        return [self._text(text)] if text or self._logprobs else []

    def _step(self, out: list[Event]) -> bool:
        """One move; False when more text is needed."""
        if self._state == "start":
            return self._at_start(out)
        if self._state == "value":
            return self._in_value(out)
        return self._in_text(out)

    def _text(self, text: str) -> TextDelta:
        logprobs, self._logprobs = self._logprobs, ()
        if text:
            self._line = text.endswith("\n")
        return TextDelta(text, self._index, logprobs)

    def _release(self, out: list[Event], length: int) -> bool:
        """Give out the front of what is held: it is plain text."""
        if length:
            out.append(self._text(self._held[:length]))
            self._held = self._held[length:]
        self._state = "text"
        return bool(self._held)

    def _at_start(self, out: list[Event]) -> bool:
        """Before a possible call: is there an opening, could there be one, or is it text?"""
        if self.calls and not self._closed():
            return False
        text = self._held.lstrip()
        if not text or _TAG.startswith(text) or _FENCE.startswith(text):
            return False
        match = _OPENING.match(self._held)
        rest = self._held[match.end() :] if match else ""
        language = match["language"] if match else None
        if language is None and text.startswith(_FENCE):
            word = text[3:].rstrip(" \t")
            if any(known.startswith(word) for known in _LANGUAGES):
                return False
            return self._release(out, len(self._held) - len(text) + 3)
        if language is not None and language not in _LANGUAGES:
            return self._release(out, len(self._held) - len(text) + 3)
        if not rest:
            return False
        if rest[0] not in "{[":
            return self._release(out, len(self._held) - len(rest) + 1)
        self._begin = self._seen = len(self._held) - len(rest)
        opening = self._held[: self._begin].lstrip()
        if opening:
            self._closer = _FENCE if opening.startswith(_FENCE) else "</tool_call>"
        self._span = JsonSpan()
        self._state = "value"
        return True

    def _closed(self) -> bool:
        """Swallow what closes a call and what stands between two; False when more is needed."""
        self._held = self._held.lstrip(_BETWEEN + "}]" if self._braces else _BETWEEN)
        if self._closer and self._held.startswith(self._closer):
            self._held = self._held[len(self._closer) :].lstrip(_BETWEEN)
            self._closer = ""
        return bool(self._held) and not self._closer.startswith(self._held)

    def _in_value(self, out: list[Event]) -> bool:
        """Inside a value that may be a call."""
        end = self._span.feed(self._held, self._seen)
        self._seen = len(self._held)
        if not self._viable() or (end < 0 and len(self._held) > MAX_HELD):
            return self._release(out, self._begin + 1)
        if end < 0:
            return False
        try:
            value = json.loads(self._held[self._begin : end])
            calls = calls_of(value, self._names)
        except (ValueError, RecursionError):
            value, calls = None, None
        if calls is None:
            shape = _shape(value)
            return not (shape and self._refuse(*shape)) and self._release(out, end)
        for name, arguments in calls[:1] if self._single else calls:
            if self._refuse(name, arguments):
                return False
            out.append(ToolCallDelta(self.calls, arguments, self._make_id(), name, self._index))
            self.calls += 1
        self._held = self._held[end:]
        self._logprobs = ()
        self._braces = False
        self._state = "deaf" if self._single else "start"
        return self._state == "start" and bool(self._held)

    def _refuse(self, name: str, arguments: str) -> bool:
        """Whether a call is to be made again."""
        again = self._check(name, arguments) if self._check is not None else None
        if again is not None:
            self.refused = (again, len(self._held) - self._begin)
        return again is not None

    def _viable(self) -> bool:
        """Whether the head of the value is, or may become, that of a call."""
        head = _SPACE.sub("", self._held[self._begin : self._begin + 400]).lstrip("[")
        if not head or any(known.startswith(head) or head.startswith(known) for known in self._heads):
            return True
        # A small model may write another name than that of the function which it was given.
        match = _NAMED.match(head) if self._check is not None else None
        rest = match and (match["rest"] or "").removeprefix(",")
        return rest is not None and any(word.startswith(rest) or rest.startswith(word) for word in WORDS)

    def _in_text(self, out: list[Event]) -> bool:
        """In plain text: a tag anywhere or a fence at the start of a line may open a call."""
        for match in _CANDIDATE.finditer(self._held):
            if match.start() == 0 and not self._line and not match[0].startswith("<"):
                continue
            self._release(out, match.start())
            self._state = "start"
            return True
        keep = self._may_open()
        self._release(out, len(self._held) - keep)
        return False

    def _may_open(self) -> int:
        """How many characters at the end may be the front of an opening."""
        tail = self._held[-len(_TAG) :]
        for length in range(min(len(tail), len(_TAG) - 1), 0, -1):
            if _TAG.startswith(tail[-length:]):
                return length
        line = self._held[self._held.rfind("\n") + 1 :]
        fresh = self._line or "\n" in self._held
        return len(line) if fresh and line and line.strip(" \t") in ("", "`", "``") else 0
