"""What one answer looks like: words wrapped, thinking greyed, a spinner while nothing comes."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass, field

from . import output

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_DELAY = 0.3  # seconds of silence before a spinner shows


class Spinner:
    """One turning character on stderr; nothing at all where no person looks. ``tick`` turns it."""

    def __init__(self, label: str = "") -> None:
        self.label = label
        self._live = output.colours(sys.stderr)
        self._began = time.monotonic()
        self._turn = 0
        self._shown = False

    def tick(self) -> None:
        """Show the next frame, once the silence has lasted a little."""
        if not self._live or time.monotonic() - self._began < _DELAY:
            return
        self._turn += 1
        sys.stderr.write(f"\r\x1b[2K\x1b[90m{_FRAMES[self._turn % len(_FRAMES)]} {self.label}\x1b[0m")
        sys.stderr.flush()
        self._shown = True

    def stop(self) -> None:
        """Take it away; the next tick begins a new silence."""
        if self._shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._shown = False
        self._began = time.monotonic()


def cells(text: str) -> int:
    """Columns that ``text`` takes in a terminal."""
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth  # a dependency of prompt_toolkit; only for text beyond ASCII

    return max(int(wcswidth(text)), 0)


@dataclass(slots=True)
class Wrap:
    """Wraps words as they arrive: a word that crosses the edge is taken back and set on the next line."""

    width: int
    column: int = 0
    word: str = field(default="")

    def feed(self, text: str) -> str:
        """What to write so that the terminal shows ``text`` wrapped."""
        return "".join(self._put(character) for character in text)

    def _put(self, character: str) -> str:
        if character == "\n":
            self.column, self.word = 0, ""
            return character
        if character == "\t":
            character = " "
        wide = cells(character)
        if self.column + wide <= self.width:
            self.column += wide
            self.word = "" if character == " " else self.word + character
            return character
        word, self.word = self.word, ""
        if character == " ":
            self.column = 0
            return "\n"
        taken = cells(word)
        if not word or taken + wide > self.width // 2:  # no word to save: break it where it is
            self.column = wide
            return "\n" + character
        self.word, self.column = word + character, taken + wide
        return f"\x1b[{taken}D\x1b[K\n{word}{character}"


class Screen:
    """Writes one answer: its text to stdout, its thinking, greyed, to stderr.

    ``thinking``: show it (True), show it only to a terminal (None), hide it (False).
    """

    def __init__(self, *, thinking: bool | None = None, wrap: bool = True) -> None:
        person = output.is_terminal(sys.stdout)
        self._show_thinking = person if thinking is None else thinking
        # The last column stays empty: a cursor that waits there moves back one column less.
        width = shutil.get_terminal_size().columns - 1 if person and wrap else 0
        self._wrap = Wrap(width) if width > 10 else None
        self._person = person
        self._spinner = Spinner()
        self._in_thinking = False
        self._last = "\n"

    def tick(self) -> None:
        """Nothing came for a moment: turn the spinner, unless half a line of an answer stands there."""
        if self._last == "\n" and not self._in_thinking:
            self._spinner.tick()

    def think(self, text: str) -> None:
        """A piece of thinking."""
        if not self._show_thinking:
            self._spinner.label = "Thinking..."
            return
        self._spinner.stop()
        if not self._in_thinking:
            self._in_thinking = True
            output.note("Thinking...", colour="grey")
        sys.stderr.write(output.paint(output.clean(text), "grey", sys.stderr))
        sys.stderr.flush()

    def say(self, text: str) -> None:
        """A piece of the answer."""
        self._spinner.stop()
        self._end_thinking()
        if self._person:
            text = output.clean(text)
        if not text:
            return
        self._last = text[-1]
        sys.stdout.write(self._wrap.feed(text) if self._wrap else text)
        sys.stdout.flush()

    def end(self) -> None:
        """The answer is over, whatever the reason: leave the cursor at the start of a line."""
        self._spinner.stop()
        self._end_thinking()
        if self._last != "\n":
            sys.stdout.write("\n")
            sys.stdout.flush()
        self._last = "\n"

    def _end_thinking(self) -> None:
        if self._in_thinking:
            self._in_thinking = False
            output.note("\n...done thinking.\n", colour="grey")
