"""From the raw text of one choice to events: prefill off, thoughts apart, calls read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from ...core.events import Event, ReasoningDelta, TextDelta, TokenLogprob, ToolCallDelta
from .forced import ForcedCalls
from .toolcalls import CallScanner, Check
from .tools import ToolPlan

OPEN, CLOSE = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read an answer.

    ``n`` choices are counted from ``offset``. ``prefill`` is echoed at the start and taken off.
    ``logprobs`` as in the request. ``mute``: nothing was asked for, whatever the engine writes.
    ``thoughts``: think tags may stand at the start of the text; ``thinking`` says that the prompt
    opened one already, ``hush`` that thoughts are not wanted and left out. ``check`` says of a call that
    was read from text which function's call is to be made again, if any.
    """

    n: int = 1
    offset: int = 0
    prefill: str = ""
    logprobs: int | None = None
    mute: bool = False
    tools: ToolPlan = field(default_factory=ToolPlan)
    thoughts: bool = False
    thinking: bool = False
    hush: bool = False
    check: Check | None = None
    param: str = "messages"


class Content:
    """The text of one choice on its way to events."""

    def __init__(self, reading: Reading, index: int) -> None:
        self._index = index
        self._mute = reading.mute
        self._prefill = reading.prefill
        self._held = ""
        self._hush = reading.hush
        self._thoughts: Thoughts | None = Thoughts(reading.thinking) if reading.thoughts else None
        self._names = reading.tools.names
        self._single = reading.tools.single
        self._native: dict[int, int | None] = {}
        self._early: tuple[TokenLogprob, ...] = ()  # of text that may still be a tag
        self.calls: CallScanner | ForcedCalls | None = None
        if reading.tools.mode == "forced":
            self.calls = ForcedCalls(index=index)
        elif reading.tools.mode == "auto":
            self.calls = CallScanner(
                reading.tools.names, index=index, single=reading.tools.single, check=reading.check
            )
        self.plain = False
        """From here on text goes through as it comes."""
        self._settle()

    def _settle(self) -> None:
        """Nothing is held, read or left out any more."""
        quiet = self._mute or self._prefill or self._held or self.calls is not None
        self.plain = not quiet and (self._thoughts is None or self._thoughts.over)

    @property
    def called(self) -> bool:
        """Whether this choice made a call."""
        return self._made > 0

    @property
    def thinking(self) -> bool:
        """Whether the text is inside of a thought."""
        return self._thoughts is not None and self._thoughts.inside

    @property
    def _made(self) -> int:
        native = sum(number is not None for number in self._native.values())
        return max(native, self.calls.calls if self.calls else 0)

    def cut_thought(self) -> None:
        """The thought is ended for the model, which may not notice and end it once more."""
        if self._thoughts is not None:
            self._thoughts.stray = True

    def call(self, delta: ToolCallDelta) -> list[Event]:
        """A call that the engine itself found; one of a function that nobody declared is none."""
        if self._mute:
            return []
        if delta.call not in self._native:
            wanted = (delta.name in self._names) and not (self._single and self._made)
            self._native[delta.call] = self._made if wanted else None
            if wanted and isinstance(self.calls, CallScanner):
                self.calls.calls += 1
        number = self._native[delta.call]
        return [] if number is None else [dataclasses.replace(delta, call=number)]

    def think(self, text: str) -> list[Event]:
        """A thought that the engine itself found."""
        return [] if self._mute or self._hush or not text else [ReasoningDelta(text, self._index)]

    def feed(self, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> list[Event]:
        """Events of a piece of text."""
        if self._mute:
            return []
        if self._prefill:
            text = self._without_prefill(text)
        out: list[Event] = []
        if self._thoughts is None:
            out = self._say(text, logprobs)
        else:
            logprobs = self._early + logprobs
            pieces = self._thoughts.feed(text)
            for thought, part in pieces:
                out += self.think(part) if thought else self._say(part, logprobs)
            self._early = logprobs if self._thoughts.unsure and not pieces else ()
        self._settle()
        return out

    def end(self) -> list[Event]:
        """What was held back."""
        out: list[Event] = []
        if self._mute:
            return out
        if self._thoughts is not None:
            for thought, part in self._thoughts.end():
                out += self.think(part) if thought else self._say(part, self._early)
        if self._held:
            out += self._say(self._held, ())
        if self.calls is not None:
            out += self.calls.end()
        return out

    def _say(self, text: str, logprobs: tuple[TokenLogprob, ...]) -> list[Event]:
        if self.calls is not None:
            return self.calls.feed(text, logprobs)
        return [TextDelta(text, self._index, logprobs)] if text or logprobs else []

    def _without_prefill(self, text: str) -> str:
        self._held += text
        if self._prefill.startswith(self._held) and self._held != self._prefill:
            return ""
        text, self._held = self._held.removeprefix(self._prefill), ""
        self._prefill = ""
        return text


class Thoughts:
    """Splits ``<think>...</think>`` at the start of an answer from what follows, and the white space
    between them off."""

    def __init__(self, inside: bool) -> None:
        self._state: Literal["start", "inside", "gap", "over"] = "inside" if inside else "start"
        self._fresh = True  # nothing of the thought was given out yet
        self._held = ""
        self.stray = False
        """One more closing tag may follow, which is not part of what is said."""

    @property
    def inside(self) -> bool:
        """A thought was opened and not closed."""
        return self._state == "inside"

    @property
    def unsure(self) -> bool:
        """What is held may turn out to be said."""
        return self._state == "start" or (self._state == "over" and bool(self._held))

    @property
    def over(self) -> bool:
        """All that follows is said."""
        return self._state == "over" and not self.stray

    def feed(self, text: str) -> list[tuple[bool, str]]:
        """Pieces with whether they are thought."""
        if self.over:
            return [(False, text)] if text else []
        self._held += text
        out: list[tuple[bool, str]] = []
        if self._state == "start":
            front = self._held.lstrip()
            if front.startswith(OPEN):
                self._state, self._held = "inside", front[len(OPEN) :]
            elif OPEN.startswith(front):
                return []
            else:
                self._state = "over"
        if self._state == "inside":
            self._think(out)
        if self._state == "gap":
            self._cross()
        if self._state == "over":
            self._speak(out)
        return out

    def _cross(self) -> None:
        """Between thought and words: white space, and maybe a closing tag that strayed there."""
        self._held = self._held.lstrip()
        if self.stray and CLOSE.startswith(self._held[: len(CLOSE)]):
            if len(self._held) < len(CLOSE):
                return
            self._held, self.stray = self._held[len(CLOSE) :].lstrip(), False
        if self._held:
            self._state = "over"

    def _speak(self, out: list[tuple[bool, str]]) -> None:
        """All that is held is said, but for a closing tag that strayed there."""
        said = self._take()
        if self.stray:
            front, close, rest = said.partition(CLOSE)
            end = len(said) if close else len(said) - overlap(said, CLOSE)
            said, self._held = (front + rest)[:end], said[end:]
            self.stray = not close
        if said:
            out.append((False, said))

    def _think(self, out: list[tuple[bool, str]]) -> None:
        """White space around a thought is not part of it."""
        if self._fresh:
            self._held = self._held.lstrip()
        thought, close, rest = self._held.partition(CLOSE)
        if close:
            self._state, self._held = "gap", rest
            thought = thought.rstrip()
        else:
            end = len(thought) - overlap(thought, CLOSE)
            end = len(thought[:end].rstrip())
            self._held, thought = thought[end:], thought[:end]
        if thought:
            self._fresh = False
            out.append((True, thought))

    def end(self) -> list[tuple[bool, str]]:
        """What was held back."""
        inside, text = self.inside, self._take()
        text = text.rstrip() if inside else text
        return [(inside, text)] if text and self._state != "gap" else []

    def _take(self) -> str:
        text, self._held = self._held, ""
        return text


def overlap(text: str, sign: str) -> int:
    """How many characters at the end of ``text`` may be the front of ``sign``."""
    most = min(len(text), len(sign) - 1)
    return next((k for k in range(most, 0, -1) if text.endswith(sign[:k])), 0)
