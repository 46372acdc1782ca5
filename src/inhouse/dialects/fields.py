"""Strict reading of decoded JSON: one reader for every dialect.

Absent and ``null`` are the same. A wrong type or a value out of range is a BadRequest that names the
field by its dotted path (``messages[0].content``), says what is expected and what came, and never
echoes long values. Booleans are not numbers. Unknown fields are ignored, but ``noted`` tells them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, overload

from ..core.errors import BadRequest, Unsupported

INT32_MAX = 2**31 - 1
MAX_NOTED = 100
_SEEDS = 2**32 - 1
_HINT = "The API reference says what each field takes."
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"(\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_PLAIN_NUMBER = re.compile(r"\d{1,18}(?:\.\d{0,18})?", re.ASCII)


def kind_of(value: Any) -> str:
    """The JSON type of a decoded value, with its article: ``a string``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"


def is_whole(value: Any) -> bool:
    """A JSON number without a fraction (``10`` and ``10.0``); never a boolean."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def wrong_type(param: str, expected: str, value: Any) -> NoReturn:
    """Raise the BadRequest for a value of the wrong type."""
    raise BadRequest(
        f"Invalid type for '{param}': expected {expected}, but got {kind_of(value)}.",
        hint=_HINT,
        param=param,
    )


def wrong_value(param: str, expected: str, value: Any = None) -> NoReturn:
    """Raise the BadRequest for a value of the right type that cannot be accepted."""
    came = ""
    if isinstance(value, str):
        came = (
            f", but got '{value}'" if len(value) <= 40 and value.isprintable() else ", but got another string"
        )
    elif isinstance(value, int | float):
        text = repr(value) if abs(value) < 1e30 else "a number far outside"
        came = f", but got {text}"
    raise BadRequest(f"Invalid value for '{param}': expected {expected}{came}.", hint=_HINT, param=param)


def missing(param: str, expected: str = "") -> NoReturn:
    """Raise the BadRequest for a required field that is absent or null."""
    hint = f"Send {expected}." if expected else ""
    raise BadRequest(f"Missing required field: '{param}'.", hint=hint, param=param)


def check_number(param: str, value: Any, lo: float, hi: float) -> float:
    """``value`` as a float within ``lo..hi``, both included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        wrong_type(param, f"a number from {lo:g} to {hi:g}", value)
    if not lo <= value <= hi:
        wrong_value(param, f"a number from {lo:g} to {hi:g}", value)
    return float(value)


def check_whole(param: str, value: Any, lo: int, hi: int) -> int:
    """``value`` as an int within ``lo..hi``, both included; ``10.0`` counts as whole."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        wrong_type(param, f"a whole number from {lo} to {hi}", value)
    if not is_whole(value) or not lo <= value <= hi:
        wrong_value(param, f"a whole number from {lo} to {hi}", value)
    return int(value)


def check_text(param: str, value: Any) -> str:
    """``value`` if it is a string."""
    if not isinstance(value, str):
        wrong_type(param, "a string", value)
    return value


def parse_duration(param: str, value: Any) -> float:
    """Seconds of ``300`` or of a Go duration like ``"1h30m"``; negative is for ever (``inf``)."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) > 1e15:
            return math.inf
        return math.inf if value < 0 else float(value)
    if not isinstance(value, str):
        wrong_type(param, "a number of seconds or a duration like '5m'", value)
    sign, body = (-1.0, value[1:]) if value[:1] == "-" else (1.0, value.removeprefix("+"))
    if _PLAIN_NUMBER.fullmatch(body):
        seconds = sign * float(body)
    else:
        parts = _DURATION_PART.findall(body)
        if not parts or "".join(n + u for n, u in parts) != body:
            wrong_value(param, "a number of seconds or a duration like '5m', '1h30m' or '300ms'", value)
        seconds = sign * sum(float(n) * _UNITS[u] for n, u in parts)
    return math.inf if seconds < 0 else abs(seconds)


def engine_seed(seed: int) -> int:
    """An int64 seed as the 32 bits an engine takes; never the value that means random there."""
    return seed % _SEEDS


class Fields:
    """Typed readers over one JSON object. ``path`` is where it sits in the body."""

    __slots__ = ("_body", "_inner", "_noted", "_path", "_seen")

    def __init__(self, body: Mapping[str, Any], path: str = "") -> None:
        self._body = body
        self._path = path
        self._seen: set[str] = set()
        self._noted: list[str] = []
        self._inner: list[Fields] = []

    def at(self, name: str) -> str:
        """Dotted path of a field, for messages."""
        return f"{self._path}.{name}" if self._path else name

    def get(self, name: str) -> Any:
        """The raw value; None when absent or null. The field counts as read."""
        self._seen.add(name)
        return self._body.get(name)

    def whole_object(self) -> Mapping[str, Any]:
        """All fields as they came; all count as read."""
        self._seen.update(self._body)
        return self._body

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._body.get(name) is not None

    def text(self, name: str, *, longest: int | None = None) -> str | None:
        """A string of at most ``longest`` characters."""
        value = self.get(name)
        if value is None:
            return None
        text = check_text(self.at(name), value)
        if longest is not None and len(text) > longest:
            wrong_value(self.at(name), f"at most {longest} characters")
        return text

    def required_text(self, name: str) -> str:
        """A string that must be there and not empty."""
        value = self.text(name)
        if not value:
            missing(self.at(name), "a string that is not empty")
        return value

    def number(self, name: str, lo: float, hi: float) -> float | None:
        """A number within ``lo..hi``."""
        value = self.get(name)
        return None if value is None else check_number(self.at(name), value, lo, hi)

    def whole(self, name: str, lo: int, hi: int) -> int | None:
        """A whole number within ``lo..hi``."""
        value = self.get(name)
        return None if value is None else check_whole(self.at(name), value, lo, hi)

    @overload
    def flag(self, name: str) -> bool | None: ...
    @overload
    def flag(self, name: str, default: bool) -> bool: ...
    def flag(self, name: str, default: bool | None = None) -> bool | None:
        """True or false."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            wrong_type(self.at(name), "true or false", value)
        return value

    def items(self, name: str, most: int) -> list[Any] | None:
        """An array of at most ``most`` values."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            wrong_type(self.at(name), "an array", value)
        if len(value) > most:
            wrong_value(self.at(name), f"at most {most} items", len(value))
        return value

    def objects(self, name: str, most: int) -> Iterator[Fields]:
        """The objects of an array, each with its path; none when absent."""
        for i, value in enumerate(self.items(name, most) or ()):
            path = f"{self.at(name)}[{i}]"
            if not isinstance(value, dict):
                wrong_type(path, "an object", value)
            yield self._enter(value, path)

    def _enter(self, value: dict[str, Any], path: str) -> Fields:
        inner = Fields(value, path)
        self._inner.append(inner)
        return inner

    def object(self, name: str) -> dict[str, Any] | None:
        """A JSON object as it is."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            wrong_type(self.at(name), "an object", value)
        return value

    def mapping(self, name: str) -> Fields | None:
        """A JSON object as a reader of its own."""
        value = self.object(name)
        return None if value is None else self._enter(value, self.at(name))

    def choice(self, name: str, *choices: str) -> str | None:
        """One of a few strings."""
        value = self.text(name)
        if value is not None and value not in choices:
            wrong_value(self.at(name), "one of " + ", ".join(f"'{c}'" for c in choices), value)
        return value

    def duration(self, name: str) -> float | None:
        """Seconds; ``inf`` for a negative value."""
        value = self.get(name)
        return None if value is None else parse_duration(self.at(name), value)

    def seed(self, name: str) -> int | None:
        """Any int64, mapped to the 32 bits that engines take."""
        value = self.whole(name, -(2**63), 2**63 - 1)
        return None if value is None else engine_seed(value)

    def refuse(self, name: str, *harmless: Any, why: str = "") -> None:
        """Raise Unsupported when the field is set to anything but its harmless values."""
        value = self.get(name)
        if value is None or any(type(value) is type(ok) and value == ok for ok in harmless):
            return
        raise Unsupported(
            f"'{self.at(name)}' is not supported here.", hint=why or "Leave it out.", param=self.at(name)
        )

    def note(self, *names: str) -> None:
        """Mark fields as accepted without effect."""
        for name in names:
            if self.has(name):
                self._noted.append(self.at(name))
            self._seen.add(name)

    def noted(self) -> tuple[str, ...]:
        """Fields without effect, here and inside: those marked so and those that nobody read."""
        names = self._noted + [self.at(name)[:80] for name in self._body if name not in self._seen]
        for inner in self._inner:
            if len(names) >= MAX_NOTED:
                break
            names.extend(inner.noted())
        return tuple(names[:MAX_NOTED])
