"""Alternatives for objects."""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING, Any

from . import dfa, scalars
from .alternatives import EVERY_KEY, Alternative, Fields
from .ecma import whole
from .errors import Inexpressible
from .expand import Flat
from .matching import matches
from .regex import ANY, TOP, Alt, Chars, Node, Rep, literal, others, write

if TYPE_CHECKING:
    from .build import Builder

MAX_CHOICES = 64
MAX_OVERLAPPING = 4
Named = list[tuple[str, int, bool]]


def of_name(flat: Flat, name: str) -> list[Any]:
    """All schemas that the value of one property must satisfy."""
    out: list[Any] = []
    for frame in flat.frames:
        properties = frame.get("properties", {})
        found = [properties[name]] if name in properties else []
        found += [
            part for pattern, part in frame.get("patternProperties", {}).items() if matches(pattern, name)
        ]
        if not found and "additionalProperties" in frame:
            found = [frame["additionalProperties"]]
        out += found
    return out


def name_fits(builder: Builder, flat: Flat, name: str) -> bool:
    """Whether ``propertyNames`` allows a name."""
    rules = flat.words.get("propertyNames", [])
    return not rules or not builder.dead(builder.goals([*rules, {"enum": [name]}]), only="string")


def close(builder: Builder, flat: Flat) -> list[Alternative]:
    """What stands for ``flat``; nothing when no object fits."""
    needed = {name for names in flat.words.get("required", ()) for name in names}
    named: Named = []
    for name in builder.names(flat):
        nodes = of_name(flat, name)
        goals = builder.goals(nodes if name_fits(builder, flat, name) else [False])
        if name in needed and builder.dead(goals):
            return []
        named.append((name, builder.state(goals), name in needed))
    keyed = [] if _shut(builder, flat, named) else _keyed(builder, flat, [name for name, _, _ in named])
    return _counted(builder, flat, named, keyed)


def _shut(builder: Builder, flat: Flat, named: Named) -> bool:
    """Whether the properties that are listed are all there are, as goes without saying.

    A schema that lists some admits any others too. Held to that, a small model goes on inventing them
    until its tokens run out; so others are there only where the schema speaks of them.
    """
    if flat.words.keys() & {"propertyNames", "minProperties"}:
        return False
    if any("additionalProperties" in frame or "patternProperties" in frame for frame in flat.frames):
        return False
    listed = {name for frame in flat.frames for name in frame.get("properties", ())}
    alive = [name for name, state, _ in named if name in listed and not builder.dead_state(state)]
    return bool(alive) and all(name in listed for name, _, needed in named if needed)


def _keyed(builder: Builder, flat: Flat, names: list[str]) -> list[tuple[str, int]]:
    patterns = tuple(dict.fromkeys(p for frame in flat.frames for p in frame.get("patternProperties", {})))
    regions = _regions(patterns)
    if not builder.dead(builder.goals(_of_region(flat, ()))):
        regions.append((dfa.neither(tuple(map(whole, patterns))) if patterns else ANY, ()))
    fits = _name_rules(builder, flat)
    out: list[tuple[str, int]] = []
    for node, chosen in regions:
        goals = builder.goals(_of_region(flat, chosen))
        if node is None or builder.dead(goals):
            continue
        mine = [name for name in names if chosen == tuple(p for p in patterns if matches(p, name))]
        kept = _without(node if fits is None else _both(node, fits), mine, trivial=not goals)
        if kept is not None:
            out.append((EVERY_KEY if kept == ANY else f"^{write(kept)}$", builder.state(goals)))
    return out


def _both(one: Node | None, other: Node) -> Node | None:
    if one is None or one == ANY:
        return None if one is None else other
    return one if other == ANY else dfa.both((one, other))


def _without(node: Node | None, names: list[str], *, trivial: bool) -> Node | None:
    """Leave out names that are listed, which engines would otherwise hold to both schemas. Where any value
    will do (``trivial``) that is only needed for names that JSON can write in several ways."""
    plain = all(char.isprintable() for name in names for char in name)
    if not names or (trivial and plain):
        return node
    try:
        return _both(node, others(names))
    except Inexpressible:
        if plain:
            return node  # then engines hold them to both, or to the one that is meant: narrower or right
        raise


def _regions(patterns: tuple[str, ...]) -> list[tuple[Node | None, tuple[str, ...]]]:
    """Expressions that no name matches two of, each with the patterns that its names match."""
    nodes = tuple(map(whole, patterns))
    if all(dfa.apart(pair) for pair in combinations(nodes, 2)):
        return [(node, (pattern,)) for node, pattern in zip(nodes, patterns, strict=True)]
    if len(patterns) > MAX_OVERLAPPING:
        raise Inexpressible("patternProperties", f"has more than {MAX_OVERLAPPING} patterns that overlap")
    out: list[tuple[Node | None, tuple[str, ...]]] = []
    for hits in product((True, False), repeat=len(patterns)):
        if any(hits):
            chosen = tuple(pattern for pattern, hit in zip(patterns, hits, strict=True) if hit)
            out.append((dfa.combine(nodes, hits.__eq__), chosen))
    return out


def _of_region(flat: Flat, chosen: tuple[str, ...]) -> list[Any]:
    """The schemas of properties whose names match exactly the ``chosen`` patterns and are not listed."""
    out: list[Any] = []
    for frame in flat.frames:
        patterns = frame.get("patternProperties", {})
        found = [patterns[pattern] for pattern in chosen if pattern in patterns]
        if not found and "additionalProperties" in frame:
            found = [frame["additionalProperties"]]
        out += found
    return out


def _name_rules(builder: Builder, flat: Flat) -> Node | None:
    """An expression for all names that ``propertyNames`` allows; None when it says nothing."""
    rules = flat.words.get("propertyNames", [])
    goals = builder.goals(rules)
    if not goals:
        return None
    branches: list[Node] = []
    for one in builder.expand("string", goals):
        if one.values is not None:
            listed = scalars.close(one, draft=builder.source.draft, lenient=builder.lenient)
            branches += [literal(value) for schema in listed for value in schema["enum"]]
            continue
        parts = scalars.nodes_of(one, builder.source.draft, lenient=builder.lenient)
        low = max(one.words.get("minLength", [0]))
        high = min(one.words.get("maxLength", [None]), key=lambda n: float("inf") if n is None else n)
        if low or high is not None:
            parts.append(Rep(Chars(((0, TOP),)), low, high))
        found = dfa.both(tuple(parts)) if parts else ANY
        branches += [found] if found is not None else []
    return branches[0] if len(branches) == 1 else Alt(tuple(branches)) if branches else Chars(())


def _counted(builder: Builder, flat: Flat, named: Named, keyed: list[tuple[str, int]]) -> list[Alternative]:
    """Bounds on the number of properties, as choices of which optional ones are there."""
    low = max(flat.words.get("minProperties", [0]))
    high = min(flat.words.get("maxProperties", [None]), key=lambda n: float("inf") if n is None else n)
    void = builder.state(builder.goals([False]))
    sure = [field for field in named if field[2]]
    free = [
        field for field in named if not field[2] and field[1] != void and not builder.dead_state(field[1])
    ]
    low = max(0, low - len(sure))
    room = None if high is None else high - len(sure)
    if room is not None and (room < 0 or room < low):
        return []
    if not low and (room is None or (not keyed and room >= len(free))):
        return [Fields(tuple(named), tuple(keyed))]
    if room is None and low <= len(free) and (not keyed or low > 1):
        return _at_least(named, free, keyed, low)
    return _exactly(named, free, keyed, (low, room), void)


def _at_least(named: Named, free: Named, keyed: list[tuple[str, int]], low: int) -> list[Alternative]:
    out: list[Alternative] = []
    for chosen in combinations([name for name, _, _ in free], low):
        fields = tuple((name, state, needed or name in chosen) for name, state, needed in named)
        out.append(Fields(fields, tuple(keyed)))
        if len(out) > MAX_CHOICES:
            raise Inexpressible("minProperties", "leaves too many choices")
    return out


def _exactly(
    named: Named, free: Named, keyed: list[tuple[str, int]], bounds: tuple[int, int | None], void: int
) -> list[Alternative]:
    """One alternative for each set of optional properties. A name that is not listed may come twice, which
    makes one property of two: so at most one of those can be demanded."""
    low, room = bounds
    out: list[Alternative] = []
    for size in range(len(free) + 1):
        more = max(0, low - size)
        if (room is not None and size > room) or more > (1 if keyed else 0):
            continue
        for chosen in combinations([name for name, _, _ in free], size):
            fields = tuple(
                (name, state if needed or name in chosen else void, needed or name in chosen)
                for name, state, needed in named
            )
            out.append(Fields(fields, tuple(keyed), more, None if room is None else room - size))
            if len(out) > MAX_CHOICES:
                raise Inexpressible("minProperties" if low else "maxProperties", "leaves too many choices")
    if not out:
        raise Inexpressible("minProperties", "demands several properties of any name")
    return out
