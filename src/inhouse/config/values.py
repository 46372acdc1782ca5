"""What settings are written as: durations, sizes, names, flags."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d{1,15}(?:\.\d{0,15})?|\.\d{1,15})(ns|us|µs|ms|s|m|h|d)", re.ASCII)
_SIZES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)


def duration(text: str | float) -> float:
    """Seconds of ``300``, ``"5m"``, ``"1h30m"``; negative means for ever (``inf``). Raises ValueError."""
    if isinstance(text, bool):
        raise ValueError("not a duration")
    if isinstance(text, int | float):
        seconds = float(text)
    else:
        sign, body = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
        if re.fullmatch(r"\d{1,15}(\.\d+)?", body, re.ASCII):
            seconds = sign * float(body)
        else:
            parts = _DURATION.findall(body)
            if not parts or "".join(n + u for n, u in parts) != body:
                raise ValueError(f"{text[:40]!r} is not a duration like 300, 5m or 1h30m")
            seconds = sign * sum(float(n) * _UNITS[u] for n, u in parts)
    if math.isnan(seconds):
        raise ValueError("not a duration")
    return math.inf if seconds < 0 else seconds


def size(text: str | int) -> int:
    """Bytes of ``1048576``, ``"64MiB"``, ``"8g"`` (powers of 1024). Raises ValueError."""
    match = _SIZE.fullmatch(str(text).strip())
    if not match:
        raise ValueError(f"{text!r} is not a size like 512MiB or 8g")
    return int(float(match[1]) * _SIZES[match[2].lower()])


def flag(text: str | bool) -> bool:
    known = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    try:
        return text if isinstance(text, bool) else known[text.lower()]
    except (KeyError, AttributeError):
        raise ValueError(f"{text!r} is not true or false") from None


def names(text: str | list[str]) -> tuple[str, ...]:
    parts = text if isinstance(text, list) else text.split(",")
    return tuple(p.strip() for p in parts if p.strip())


def whole(text: str | int) -> int:
    if isinstance(text, bool | float):
        raise ValueError(f"{text!r} is not a whole number")
    value = int(text)
    if value < 0:
        raise ValueError("it must not be negative")
    return value


def one_of(*choices: str) -> Callable[[Any], str]:
    def parse(text: Any) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is not one of {', '.join(choices)}")
        return str(text)

    return parse
