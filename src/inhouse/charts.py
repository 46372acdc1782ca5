"""Pictures of numbers as SVG: one standalone text, no scripts, for light and dark pages alike."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape as _escape

WIDTH: Final = 760
HEIGHT: Final = 420
_LEFT: Final = 84
_RIGHT: Final = 28
_TOP: Final = 84
_BOTTOM: Final = 64
_TICKS: Final = 6
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56a0d3", "#8a6bbe", "#7a7a7a")
"""Told apart by people with any kind of colour vision (after Okabe and Ito), on white and on black."""
_DASHES: Final = ("", "7 4", "2 3", "9 3 2 3")
_STYLE: Final = (
    "text{font:13px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#24292f}"
    ".t{font-size:17px;font-weight:600}.s{fill:#57606a;font-size:12px}"
    ".v{font-size:11px;fill:#57606a}.g{stroke:#d8dee4;stroke-width:1}"
    ".a{stroke:#6e7781;stroke-width:1}.p{fill:#ffffff}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s,.v{fill:#9da7b1}.g{stroke:#30363d}"
    ".a{stroke:#8b949e}.p{fill:#0d1117}}"
)

_NOT_XML: Final = re.compile("[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Points = Sequence[tuple[float, float]]


def escape(text: str) -> str:
    """Text as XML may hold it."""
    return _escape(_NOT_XML.sub("?", text))


@dataclass(frozen=True, slots=True)
class _Axis:
    """Values from ``low`` to ``high`` drawn between two places of the picture, a tick at each ``step``."""

    low: float
    high: float
    step: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """The values to write at the axis."""
        count = round((self.high - self.low) / self.step)
        return [self.low + n * self.step for n in range(count + 1)]


def _axis(values: Sequence[float], start: float, end: float, *, zero: bool) -> _Axis:
    """An axis whose ticks are 1, 2 or 5 times a power of ten; ``zero`` puts zero on it."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    most = max(abs(low), abs(high))
    if high - low <= 1e-9 * most or most < 1e-200:  # one value, as good as
        low, high = low - 0.5 * (low < 0), high + max(1.0, most * 0.01)
    rough = (high - low) / (_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(n * power for n in (1, 2, 5, 10) if n * power >= rough * 0.999)
    return _Axis(math.floor(low / step) * step, math.ceil(high / step) * step, step, start, end)


def _number(value: float, step: float = 0.0) -> str:
    """``12,000``, ``0.25``: as many decimals as a step of the axis needs, or three digits."""
    if value == 0:
        return "0"
    if not step:
        step = 10.0 ** (math.floor(math.log10(abs(value))) - 2)
    if abs(value) >= 1e12 or step < 1e-6:
        return f"{value:.3g}"
    return f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def _place(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _text(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "", more: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{_place(x)}" y="{_place(y)}" text-anchor="{anchor}"{style}{more}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{_place(x1)}" y1="{_place(y1)}" x2="{_place(x2)}" y2="{_place(y2)}"/>'


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _marker(number: int, x: float, y: float) -> str:
    """A small shape: colour is never all that tells series apart."""
    fill = f'fill="{_colour(number)}"'
    if number % 3 == 0:
        return f'<circle cx="{_place(x)}" cy="{_place(y)}" r="3.5" {fill}/>'
    if number % 3 == 1:
        return f'<rect x="{_place(x - 3.2)}" y="{_place(y - 3.2)}" width="6.4" height="6.4" {fill}/>'
    corners = ((x, y - 4.4), (x + 4.2, y + 3.2), (x - 4.2, y + 3.2))
    points = " ".join(f"{_place(a)},{_place(b)}" for a, b in corners)
    return f'<polygon points="{points}" {fill}/>'


def _legend(names: Sequence[str], *, strokes: bool) -> list[str]:
    """One row under the title; nothing for a single series without a name."""
    out: list[str] = []
    x = float(_LEFT)
    for number, name in enumerate(names):
        if not name:
            continue
        if strokes:
            out += [_stroke(number, f"M{_place(x)} 54h22"), _marker(number, x + 11, 54)]
        else:
            out.append(
                f'<rect x="{_place(x)}" y="48" width="22" height="12" rx="2" fill="{_colour(number)}"/>'
            )
        out.append(_text(x + 28, 58.5, name, kind="s"))
        x += 28 + 7.2 * len(name) + 22
    return out


def _stroke(number: int, path: str) -> str:
    dash = _DASHES[number // len(_COLOURS) % len(_DASHES)] if number >= len(_COLOURS) else ""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="{path}" fill="none" stroke="{_colour(number)}" stroke-width="2.2"{dashed}/>'


def _rows(axis: _Axis, y: str) -> list[str]:
    """The vertical axis: grid, numbers, what is measured."""
    out = []
    for value in axis.ticks():
        place = axis.at(value)
        out.append(_line(_LEFT, place, WIDTH - _RIGHT, place, "g"))
        out.append(_text(_LEFT - 10, place + 4.5, _number(value, axis.step), anchor="end", kind="s"))
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    out.append(
        _text(18, middle, y, anchor="middle", kind="s", more=f' transform="rotate(-90 18 {middle:g})"')
    )
    return out


def _whole(title: str, story: str, parts: Sequence[str]) -> str:
    """The document; ``story`` tells the numbers to those who cannot see the picture."""
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}" role="img" aria-labelledby="title desc">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="desc">{escape(story)}</desc>',
            f"<style>{_STYLE}</style>",
            f'<rect class="p" width="{WIDTH}" height="{HEIGHT}"/>',
            _text(_LEFT, 30, title, kind="t"),
            *parts,
            "</svg>",
            "",
        )
    )


def _finite(points: Points) -> list[tuple[float, float]]:
    return sorted((x, y) for x, y in points if math.isfinite(x) and math.isfinite(y))


def lines(title: str, x: str, y: str, series: Mapping[str, Points]) -> str:
    """A line for each series of (x, y) points, in any order; ``x`` and ``y`` say what is measured.

    Points that are not finite are left out. The vertical axis begins at zero where that leaves at least
    a third of it to the data.
    """
    drawn = {name: _finite(points) for name, points in series.items()}
    across = [a for points in drawn.values() for a, _ in points]
    upward = [b for points in drawn.values() for _, b in points]
    zero = not upward or max(upward) - min(upward) > max(map(abs, upward)) / 3
    columns = _axis(across, _LEFT, WIDTH - _RIGHT, zero=False)
    rows = _axis(upward, HEIGHT - _BOTTOM, _TOP, zero=zero)
    parts = _legend(list(drawn), strokes=True) + _rows(rows, y)
    bottom = HEIGHT - _BOTTOM
    for value in columns.ticks():
        place = columns.at(value)
        parts.append(_line(place, bottom, place, bottom + 5, "a"))
        parts.append(_text(place, bottom + 20, _number(value, columns.step), anchor="middle", kind="s"))
    parts.append(_line(_LEFT, bottom, WIDTH - _RIGHT, bottom, "a"))
    parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 18, x, anchor="middle", kind="s"))
    for number, points in enumerate(drawn.values()):
        places = [(columns.at(a), rows.at(b)) for a, b in points]
        if places:
            parts.append(_stroke(number, "M" + "L".join(f"{_place(a)} {_place(b)}" for a, b in places)))
        if len(places) <= 60:
            parts += [_marker(number, a, b) for a, b in places]
    return _whole(title, _told(drawn, x, y), parts)


def _told(drawn: Mapping[str, Points], x: str, y: str) -> str:
    out = []
    for name, points in drawn.items():
        if points:
            (x0, y0), (x1, y1) = points[0], points[-1]
            out.append(f"{name or y}: {_number(y0)} at {_number(x0)} to {_number(y1)} at {_number(x1)}")
    return f"{y} by {x}. " + "; ".join(out)


def bars(title: str, y: str, labels: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> str:
    """Groups of bars, one group for each label and in it a bar for each series; None leaves a gap.

    Raises ValueError if a series has not one value for each label.
    """
    if any(len(values) != len(labels) for values in series.values()):
        raise ValueError("a series needs one value for each label")
    known = [v for values in series.values() for v in values if v is not None and math.isfinite(v)]
    rows = _axis(known, HEIGHT - _BOTTOM, _TOP, zero=True)
    parts = _legend(list(series), strokes=False) + _rows(rows, y)
    room = (WIDTH - _RIGHT - _LEFT) / max(1, len(labels))
    wide = min(64.0, room * 0.78 / max(1, len(series)))
    for place, label in enumerate(labels):
        middle = _LEFT + room * (place + 0.5)
        left = middle - wide * len(series) / 2
        for number, values in enumerate(series.values()):
            parts += _bar(rows, number, values[place], left + wide * number, wide)
        parts.append(_label(middle, label, room))
    parts.append(_line(_LEFT, rows.at(0), WIDTH - _RIGHT, rows.at(0), "a"))
    return _whole(title, _listed(labels, series, y), parts)


def _bar(rows: _Axis, number: int, value: float | None, left: float, wide: float) -> list[str]:
    if value is None or not math.isfinite(value):
        return [_text(left + wide / 2, rows.at(0) - 5, "-", anchor="middle", kind="v")]
    top, foot = sorted((rows.at(value), rows.at(0)))
    box = f'x="{_place(left + 1)}" y="{_place(top)}" width="{_place(wide - 2)}" height="{_place(foot - top)}"'
    out = [f'<rect {box} rx="2" fill="{_colour(number)}"><title>{_number(value)}</title></rect>']
    written = _number(value)
    if 6.4 * len(written) <= wide + 4:
        out.append(_text(left + wide / 2, top - 5, written, anchor="middle", kind="v"))
    return out


def _label(middle: float, label: str, room: float) -> str:
    y = HEIGHT - _BOTTOM + 20
    if 7 * len(label) <= room:
        return _text(middle, y, label, anchor="middle", kind="s")
    turned = f' transform="rotate(-28 {_place(middle)} {y})"'
    return _text(middle + 6, y - 2, label, anchor="end", kind="s", more=turned)


def _listed(labels: Sequence[str], series: Mapping[str, Sequence[float | None]], y: str) -> str:
    told = []
    for place, label in enumerate(labels):
        for name, values in series.items():
            value = values[place]
            shown = "-" if value is None or not math.isfinite(value) else _number(value)
            told.append(f"{label}{', ' + name if name else ''}: {shown}")
    return f"{y}. " + "; ".join(told)


__all__ = ["bars", "lines"]
