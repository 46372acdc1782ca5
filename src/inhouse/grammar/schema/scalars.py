"""Alternatives for numbers and strings as schemas of one type."""

from __future__ import annotations

from decimal import Decimal
from math import lcm
from typing import Any

from . import dfa
from .ecma import whole
from .errors import Inexpressible
from .expand import Flat
from .formats import BASE64, FORMATS
from .made import MISMATCH
from .matching import holds
from .regex import Node, others, write

SAFE = 2**53
"""Integers beyond this are not told apart by a double, which is what engines and clients read them into."""
MAX_FACTOR = 2**31 - 1
MAX_GAPS = 200
"""Numbers left out of a range: each splits it."""


def close(flat: Flat, *, draft: int, lenient: bool) -> list[dict[str, Any]]:
    """Schemas of one type that together stand for ``flat``; none when no value fits."""
    if flat.kind == "null":
        return [] if None in flat.forbidden else [{"type": "null"}]
    if flat.kind == "boolean":
        return _boolean(flat)
    if flat.values is not None:
        return _listed(flat, draft)
    return _number(flat) if flat.kind == "number" else _string(flat, draft, lenient=lenient)


def _boolean(flat: Flat) -> list[dict[str, Any]]:
    kept = [v for v in (True, False) if (flat.values is None or v in flat.values) and v not in flat.forbidden]
    return [{"type": "boolean"}] if len(kept) == 2 else [{"const": v} for v in kept]


def _listed(flat: Flat, draft: int) -> list[dict[str, Any]]:
    tests: list[dict[str, Any]] = [{"type": "integer"}] if "integer" in flat.words else []
    for key, words in flat.words.items():
        if key == MISMATCH:
            tests += [{"not": {"pattern": word}} for word in words]
        elif key == "contentEncoding":
            tests += [{"pattern": p} for word in words for p in _content(word, draft)]
        elif key not in ("integer", "contentMediaType"):
            tests += [{key: word} for word in words if word is not None]
    kept = [
        value
        for value in flat.values or ()
        if value not in flat.forbidden and all(holds(test, value) for test in tests)
    ]
    for value in kept:
        if isinstance(value, int | float) and abs(value) > SAFE:
            raise Inexpressible("enum", "has numbers beyond 2^53")
        if isinstance(value, float) and not (value.is_integer() or 1e-6 <= abs(value) < 1e15):
            raise Inexpressible("enum", "has numbers that are too fine")
    return [{"enum": kept}] if kept else []


def _number(flat: Flat) -> list[dict[str, Any]]:
    out: dict[str, Any] = {"type": "integer" if "integer" in flat.words else "number"}
    for key, pick in (
        ("minimum", max),
        ("maximum", min),
        ("exclusiveMinimum", max),
        ("exclusiveMaximum", min),
    ):
        found = [word for word in flat.words.get(key, ()) if word is not None]
        if found:
            out[key] = pick(found)
    _clamp(out)
    if _hollow(out):
        return []
    factors = flat.words.get("multipleOf", [])
    if factors:
        out["multipleOf"] = _common(factors)
        if out.get("maximum", out.get("exclusiveMaximum", 1)) <= 0:
            raise Inexpressible("multipleOf", "is not enforced for negative numbers")
    return _without(out, flat.forbidden)


def _clamp(out: dict[str, Any]) -> None:
    for key, sign in (("minimum", -1), ("exclusiveMinimum", -1), ("maximum", 1), ("exclusiveMaximum", 1)):
        if key in out and abs(out[key]) > SAFE:
            if (out[key] > 0) == (sign > 0):
                out[key] = sign * SAFE
            else:
                raise Inexpressible(key, "is beyond 2^53")


def _hollow(out: dict[str, Any]) -> bool:
    low = max(out.get("minimum", -SAFE * 2), out.get("exclusiveMinimum", -SAFE * 2))
    high = min(out.get("maximum", SAFE * 2), out.get("exclusiveMaximum", SAFE * 2))
    edge = low == out.get("exclusiveMinimum") or high == out.get("exclusiveMaximum")
    return bool(low > high or (low == high and edge))


def _common(factors: list[Any]) -> int | float:
    """The number whose multiples are the multiples of all ``factors``."""
    decimals = [Decimal(repr(factor)) for factor in factors]
    scale = 10 ** max(0, *(-int(d.as_tuple().exponent) for d in decimals))
    common = lcm(*(int(d * scale) for d in decimals))
    if not 0 < common <= MAX_FACTOR or scale > 10**9:
        raise Inexpressible("multipleOf", "has too many digits")
    return common if scale == 1 else float(Decimal(common) / scale)


def _without(out: dict[str, Any], forbidden: list[Any]) -> list[dict[str, Any]]:
    if len(forbidden) > MAX_GAPS:
        raise Inexpressible("not", f"leaves out more than {MAX_GAPS} numbers")
    parts = [out]
    for value in forbidden:
        split: list[dict[str, Any]] = []
        for part in parts:
            below = min(value, part.get("exclusiveMaximum", value))
            above = max(value, part.get("exclusiveMinimum", value))
            split += [part | {"exclusiveMaximum": below}, part | {"exclusiveMinimum": above}]
        parts = [part for part in split if not _hollow(part)]
    return parts


def _content(word: Any, draft: int) -> tuple[str, ...]:
    """From draft 2019-09 on what a string encodes is an annotation."""
    return BASE64 if draft in (6, 7) and word == "base64" else ()


def _string(flat: Flat, draft: int, *, lenient: bool) -> list[dict[str, Any]]:
    low = max(flat.words.get("minLength", [0]))
    high = min(flat.words.get("maxLength", [None]), key=lambda n: float("inf") if n is None else n)
    if high is not None and low > high:
        return []
    out: dict[str, Any] = {"type": "string"}
    if low:
        out["minLength"] = low
    if high is not None:
        out["maxLength"] = high
    patterns = list(dict.fromkeys(f"^{write(node)}$" for node in nodes_of(flat, draft, lenient=lenient)))
    if patterns:
        out["pattern"] = patterns[0]
    if patterns[1:]:
        out["allOf"] = [{"type": "string", "pattern": pattern} for pattern in patterns[1:]]
    return [out]


def nodes_of(flat: Flat, draft: int, *, lenient: bool = False) -> list[Node]:
    """Expressions that all match the strings of an alternative, besides its lengths."""
    if not lenient and draft in (6, 7) and "application/json" in flat.words.get("contentMediaType", ()):
        raise Inexpressible("contentMediaType")
    sources = list(flat.words.get("pattern", ()))
    for name in flat.words.get("format", ()):
        sources += FORMATS.get(name, ())
    for word in flat.words.get("contentEncoding", ()):
        sources += _content(word, draft)
    found: list[Node] = []
    for source in sources:
        try:
            found.append(whole(source))
        except Inexpressible:
            if not lenient:
                raise
    wrong = tuple(whole(pattern) for pattern in flat.words.get(MISMATCH, ()))
    if wrong:
        rest = dfa.neither(wrong)
        if rest is None:
            raise Inexpressible("not", "leaves no string")
        found.append(rest)
    if flat.forbidden:
        found.append(others(flat.forbidden))
    return found
