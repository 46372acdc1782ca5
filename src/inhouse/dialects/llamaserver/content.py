"""From the raw text of one choice to events: prefill off, thoughts apart, calls read."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...core.events import Event, ReasoningDelta, TextDelta, TokenLogprob, ToolCallDelta
from .forced import ForcedCalls
from .toolcalls import CallScanner
from .tools import ToolPlan

_OPEN, _CLOSE = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read an answer.

    ``n`` choices are counted from ``offset``. ``prefill`` is echoed at the start and taken off.
    ``logprobs`` as in the request. ``mute``: nothing was asked for, whatever the engine writes.
    ``thoughts``: think tags stand in the text (None: the engine parses them itself); ``thinking``
    says that the prompt opened one already.
    """

    n: int = 1
    offset: int = 0
    prefill: str = ""
    logprobs: int | None = None
    mute: bool = False
    tools: ToolPlan = field(default_factory=ToolPlan)
    thoughts: bool = False
    thinking: bool = False
    param: str = "messages"

    @property
    def plain(self) -> bool:
        """Text goes through as it comes."""
        return not (self.prefill or self.mute or self.thoughts or self.tools.mode != "off")


class Content:
    """The text of one choice on its way to events."""

    def __init__(self, reading: Reading, index: int) -> None:
        self._index = index
        self._mute = reading.mute
        self._prefill = reading.prefill
        self._held = ""
        self._thoughts: Thoughts | None = Thoughts(reading.thinking) if reading.thoughts else None
        self._calls: CallScanner | ForcedCalls | None = None
        plan = reading.tools
        if plan.mode == "forced":
            self._calls = ForcedCalls(index=index)
        elif plan.mode == "auto":
            self._calls = CallScanner(plan.names, index=index, single=plan.single)
        self._native = 0

    @property
    def called(self) -> bool:
        """Whether this choice made a call."""
        return bool(self._native or (self._calls and self._calls.calls))

    def call(self, delta: ToolCallDelta) -> ToolCallDelta:
        """A call that the engine itself found."""
        self._native = max(self._native, delta.call + 1)
        return delta

    def feed(self, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> list[Event]:
        """Events of a piece of text."""
        if self._mute:
            return []
        if self._prefill:
            text = self._without_prefill(text)
        if self._thoughts is None:
            return self._say(text, logprobs)
        out: list[Event] = []
        for thought, part in self._thoughts.feed(text):
            out += [ReasoningDelta(part, self._index)] if thought else self._say(part, logprobs)
        return out

    def end(self) -> list[Event]:
        """What was held back."""
        out: list[Event] = []
        if self._mute:
            return out
        if self._thoughts is not None:
            for thought, part in self._thoughts.end():
                out += [ReasoningDelta(part, self._index)] if thought else self._say(part, ())
        if self._held:
            out += self._say(self._held, ())
        if self._calls is not None:
            out += self._calls.end()
        return out

    def _say(self, text: str, logprobs: tuple[TokenLogprob, ...]) -> list[Event]:
        if self._calls is not None:
            return self._calls.feed(text, logprobs)
        return [TextDelta(text, self._index, logprobs)] if text or logprobs else []

    def _without_prefill(self, text: str) -> str:
        self._held += text
        if self._prefill.startswith(self._held) and self._held != self._prefill:
            return ""
        text, self._held = self._held.removeprefix(self._prefill), ""
        self._prefill = ""
        return text


class Thoughts:
    """Splits ``<think>...</think>`` at the start of an answer from what follows."""

    def __init__(self, inside: bool) -> None:
        self._state = "inside" if inside else "start"
        self._held = ""

    def feed(self, text: str) -> list[tuple[bool, str]]:
        """Pieces with whether they are thought."""
        if self._state == "over":
            return [(False, text)] if text else []
        self._held += text
        if self._state == "start":
            front = self._held.lstrip()
            if front.startswith(_OPEN):
                self._state, self._held = "inside", front[len(_OPEN) :].lstrip("\n")
            elif _OPEN.startswith(front):
                return []
            else:
                self._state = "over"
                return [(False, self._take())]
        thought, close, rest = self._held.partition(_CLOSE)
        if close:
            self._state, self._held = "over", ""
            return [piece for piece in ((True, thought), (False, rest.lstrip("\n"))) if piece[1]]
        keep = next((k for k in range(len(_CLOSE) - 1, 0, -1) if thought.endswith(_CLOSE[:k])), 0)
        self._held = thought[len(thought) - keep :]
        out = thought[: len(thought) - keep]
        return [(True, out)] if out else []

    def end(self) -> list[tuple[bool, str]]:
        """What was held back."""
        inside = self._state == "inside"
        return [(inside, self._take())] if self._held else []

    def _take(self) -> str:
        text, self._held = self._held, ""
        return text
