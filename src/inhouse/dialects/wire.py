"""Bytes that go out: JSON that every line-based client can read, and what errors have in common."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from ..core.errors import Busy, EngineError, InhouseError, Unauthorized

_encode = msgspec.json.encode
# Python's str.splitlines, and so httpx's iter_lines, ends a line at these too: they must be escaped.
_BREAKS = ((b"\xc2\x85", b"\\u0085"), (b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))
T = TypeVar("T")


def _one_line(out: bytes) -> bytes:
    for raw, escaped in _BREAKS:
        if raw in out:
            out = out.replace(raw, escaped)
    return out


def quote(text: str) -> bytes:
    """A JSON string on one line, always valid UTF-8. The hot path of every token."""
    if text.isascii():
        return _encode(text)
    try:
        return _one_line(_encode(text))
    except UnicodeEncodeError:  # a lone surrogate
        return _one_line(_encode(text.encode("utf-8", "replace").decode()))


def dumps(value: Any) -> bytes:
    """JSON on one line. Floats that are no numbers become null."""
    try:
        return _one_line(_encode(value))
    except UnicodeEncodeError:  # a lone surrogate somewhere
        return _one_line(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def finite(logprob: float) -> float:
    """JSON has no minus infinity: very unlikely tokens are written as -9999."""
    return logprob if math.isfinite(logprob) else -9999.0


def nearest(error: InhouseError, table: Mapping[type[InhouseError], T]) -> T:
    """The entry of the error's class or of its closest base. InhouseError itself must be there."""
    for base in type(error).__mro__:
        if base in table:
            return table[base]
    raise LookupError("no entry for InhouseError")


def explain(error: InhouseError) -> str:
    """Message and hint as one text. Never the detail."""
    if not error.hint:
        return error.message
    message = error.message if error.message.endswith((".", "!", "?")) else f"{error.message}."
    return f"{message} {error.hint}"


def error_headers(error: InhouseError) -> tuple[tuple[str, str], ...]:
    """Headers that an error carries in every dialect: whatever is Busy says when to try again."""
    if isinstance(error, Unauthorized):
        return (("WWW-Authenticate", "Bearer"),)
    if isinstance(error, Busy):
        return retry_after(error, default=1)
    return retry_after(error) if isinstance(error, EngineError) else ()


def retry_after(error: InhouseError, default: int | None = None) -> tuple[tuple[str, str], ...]:
    """The Retry-After header in whole seconds, at least 1; ``default`` when the error knows none."""
    seconds = error.retry_after
    if seconds is None or not math.isfinite(seconds):
        return () if default is None else (("Retry-After", str(default)),)
    return (("Retry-After", str(max(1, math.ceil(seconds)))),)
