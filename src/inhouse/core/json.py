"""Strict intake of JSON from strangers: one place for every dialect.

Refuses what RFC 8259 leaves open and what costs too much: duplicate keys, NaN and Infinity, numbers
beyond a double, nesting deeper than the interpreter's limit, objects of more than 10,000 keys,
invalid UTF-8, lone surrogates.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from .errors import BadRequest

MAX_KEYS = 10_000


def _refuse(what: str) -> NoReturn:
    raise ValueError(what)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_KEYS:
        _refuse(f"an object has more than {MAX_KEYS} keys")
    out = dict(pairs)
    if len(out) != len(pairs):
        _refuse("an object has the same key twice")
    return out


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        _refuse("a number is out of range")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs,
    parse_float=_float,
    parse_constant=lambda name: _refuse(f"{name} is not JSON"),
)


def parse(body: bytes) -> dict[str, Any]:
    """Decode a request body that must be a JSON object. Raises BadRequest, never anything else."""
    try:
        text = body.decode("utf-8")
        value = _DECODER.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # lone surrogates
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None
    except (ValueError, UnicodeError) as error:
        reason = str(error)[:200] if not isinstance(error, UnicodeError) else "it is not valid UTF-8"
        raise BadRequest(f"The body is not valid JSON: {reason}", hint="Send a JSON object.") from None
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object.")
    return value
