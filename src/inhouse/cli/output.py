"""Text for people and programs: streams, colours, tables, sizes, times. Pure but for the two writers."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

_CODES = {"red": "31", "yellow": "33", "green": "32", "grey": "90", "bold": "1"}
# What a terminal would obey: C0 but newline and tab, DEL, C1, and the bidirectional overrides.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads this stream (a closed one is nobody)."""
    try:
        return stream.isatty()
    except ValueError:
        return False


def colours(stream: TextIO) -> bool:
    """A terminal, not a dumb one, and nobody set NO_COLOR (see no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, stream: TextIO) -> str:
    """``text`` in a colour where the stream shows colours."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if colour and colours(stream) else text


def clean(text: str) -> str:
    """``text`` without characters that a terminal would obey: models and registries are not trusted."""
    return _CONTROLS.sub("", text)


def data(text: str, *, end: str = "\n") -> None:
    """Write data to stdout at once; a terminal never gets control characters from it."""
    sys.stdout.write((clean(text) if is_terminal(sys.stdout) else text) + end)
    sys.stdout.flush()


def labelled(label: str, colour: str, text: str) -> None:
    """Write a line of data that begins with a coloured label."""
    sys.stdout.write(paint(clean(label), colour, sys.stdout) + f"  {clean(text)}\n")
    sys.stdout.flush()


def note(text: str, *, colour: str = "") -> None:
    """Write a line for people to stderr; nobody there is no error."""
    try:
        sys.stderr.write(paint(clean(text), colour, sys.stderr) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return


def json_data(value: Any) -> None:
    """Write a value as indented JSON."""
    data(json.dumps(value, indent=2, ensure_ascii=False))


def json_line(value: Any) -> None:
    """Write a value as JSON on one line."""
    data(json.dumps(value, ensure_ascii=False))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns four spaces apart, as Ollama prints them; cells lose control characters and newlines."""
    cells = [list(header), *([clean(c).replace("\n", " ") for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ("    ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)
    return "\n".join(lines)


def human_size(count: float) -> str:
    """Bytes in powers of 1000: ``98 MB``, ``1.1 GB``; one decimal below ten."""
    for unit, one in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= one:
            value = count / one
            return f"{value:.1f} {unit}" if value < 10 and one >= 1e9 else f"{value:.0f} {unit}"
    return f"{count:.0f} B"


def seconds(value: float) -> str:
    """A measured time: ``850ms``, ``4.91s``, ``2m5s``; ``forever`` for infinity."""
    if math.isinf(value):
        return "forever"
    if value < 1:
        return f"{value * 1000:.0f}ms" if value >= 0.0095 or value == 0 else f"{value * 1000:.2f}ms"
    if value < 60:
        return f"{value:.2f}s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "") + (f"{rest}s" if rest else "")


def distance(value: float) -> str:
    """A span in one word and a half: ``4 minutes``, ``About a minute``, ``2 weeks``."""
    value = abs(value)
    if value < 1:
        return "Less than a second"
    for word, one, limit in (
        ("second", 1, 60),
        ("minute", 60, 60),
        ("hour", 3600, 48),
        ("day", 86400, 14),
        ("week", 604800, 9),
        ("month", 2592000, 24),
    ):
        count = int(value / one)
        if count < limit:
            if count == 1:
                return {"minute": "About a minute", "hour": "About an hour"}.get(word, f"1 {word}")
            return f"{count} {word}s"
    return f"{int(value / 31536000)} years"
