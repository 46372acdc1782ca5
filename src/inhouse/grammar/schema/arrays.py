"""Alternatives for arrays."""

from __future__ import annotations

from itertools import combinations, permutations
from typing import TYPE_CHECKING, Any

from .alternatives import Alternative, Items, Plain
from .errors import Inexpressible
from .expand import Flat
from .made import frame

if TYPE_CHECKING:
    from .build import Builder

MAX_PERMUTED = 5
MAX_LISTED = 8
MAX_SOUGHT = 8
MAX_COUNT = 10_000


def close(builder: Builder, flat: Flat) -> list[Alternative]:
    """What stands for ``flat``; nothing when no array fits."""
    frames = [frame(node, builder.source.draft) for node in flat.frames]
    low = max(flat.words.get("minItems", [0]))
    high = min(flat.words.get("maxItems", [None]), key=lambda n: float("inf") if n is None else n)
    if high is not None and low > high:
        return []
    if low > MAX_COUNT or (high or 0) > MAX_COUNT:
        raise Inexpressible("minItems" if low > MAX_COUNT else "maxItems", f"is over {MAX_COUNT}")
    count = max((len(prefix) for prefix, _ in frames), default=0)
    prefix = [[part[at] if at < len(part) else rest for part, rest in frames] for at in range(count)]
    tail = [rest for _, rest in frames]
    if high is not None:
        prefix = prefix[:high]
    if any(flat.words.get("uniqueItems", ())) and not (high is not None and high <= 1):
        return _unique(builder, flat, prefix, tail, (low, high))
    sought = [
        node for node in flat.words.get("contains", ()) if node.get("minContains", 1) or "maxContains" in node
    ]
    if sought and not builder.lenient:
        return _containing(builder, sought, prefix, tail, (low, high))
    return [_items(builder, prefix, tail, (low, high))]


def _items(
    builder: Builder, prefix: list[list[Any]], tail: list[Any], bounds: tuple[int, int | None]
) -> Items:
    states = tuple(builder.state(builder.goals(nodes)) for nodes in prefix)
    return Items(states, builder.state(builder.goals(tail)), *bounds)


def _containing(
    builder: Builder,
    sought: list[Any],
    prefix: list[list[Any]],
    tail: list[Any],
    bounds: tuple[int, int | None],
) -> list[Alternative]:
    """One alternative for each place where the item that is asked for may stand."""
    low, high = bounds
    if len(sought) > 1 or {"minContains", "maxContains"} & sought[0].keys():
        raise Inexpressible("contains")
    if high is None or high > MAX_SOUGHT:
        raise Inexpressible("contains", f"needs maxItems of at most {MAX_SOUGHT}")
    wanted = sought[0]["contains"]
    out: list[Alternative] = []
    for at in range(high):
        places = [*prefix, *([tail] * max(0, at + 1 - len(prefix)))]
        places[at] = [*places[at], wanted]
        out.append(_items(builder, places, tail, (max(low, at + 1), high)))
    return out


def _unique(
    builder: Builder, flat: Flat, prefix: list[list[Any]], tail: list[Any], bounds: tuple[int, int | None]
) -> list[Alternative]:
    """Arrays without repetition, where that can be told beforehand."""
    low, high = bounds
    goals = [builder.goals(nodes) for nodes in prefix]
    closed = builder.dead(builder.goals(tail)) or (high is not None and high <= len(prefix))
    if closed and all(builder.dead(one + other) for one, other in combinations(goals, 2)):
        return [_items(builder, prefix, tail, bounds)]
    values = None if prefix or "contains" in flat.words else builder.listed(builder.goals(tail))
    if values is not None and len(values) <= MAX_LISTED:
        pick = permutations if len(values) <= MAX_PERMUTED else combinations
        top = len(values) if high is None else min(high, len(values))
        lists = [list(row) for size in range(low, top + 1) for row in pick(values, size)]
        return [Plain({"enum": lists})] if lists else []
    if builder.lenient:
        return [_items(builder, prefix, tail, bounds)]
    raise Inexpressible("uniqueItems")
