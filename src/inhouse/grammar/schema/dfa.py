"""Complement and intersection of expressions, by derivatives, for what the engines' syntax cannot say."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator

from .errors import Inexpressible
from .regex import ANY, TOP, Alt, Cat, Chars, Node, Ranges, Rep, union, write

MAX_STATES = 120
MAX_TEXT = 8_000
MAX_COUNTED = 64
"""Repetitions up to here: each count is a state."""
MAX_SECONDS = 0.1
"""Of this thread's own time."""
Accept = Callable[[tuple[bool, ...]], bool]
Edges = dict[tuple[int, int], list[tuple[int, int]]]
NEVER = Chars(())
EMPTY = Cat(())


def _alt(branches: list[Node]) -> Node:
    flat: dict[Node, None] = {}
    for branch in branches:
        for part in branch.branches if isinstance(branch, Alt) else (branch,):
            if part != NEVER:
                flat[part] = None
    if ANY in flat:
        return ANY
    out = tuple(flat)
    return NEVER if not out else out[0] if len(out) == 1 else Alt(out)


def _cat(parts: list[Node]) -> Node:
    flat: list[Node] = []
    for part in parts:
        if part == NEVER:
            return NEVER
        flat.extend(part.parts if isinstance(part, Cat) else (part,))
    return flat[0] if len(flat) == 1 else Cat(tuple(flat))


@functools.lru_cache(20_000)
def nullable(node: Node) -> bool:
    match node:
        case Cat(parts):
            return all(nullable(part) for part in parts)
        case Alt(branches):
            return any(nullable(branch) for branch in branches)
        case Rep(inner, low, _):
            return low == 0 or nullable(inner)
    return False


def _rest(node: Rep) -> Node:
    high = None if node.high is None else node.high - 1
    if high == 0:
        return EMPTY
    return Rep(node.node, max(0, node.low - 1), high)


def derive(node: Node, code: int) -> Node:
    """What may follow one character."""
    match node:
        case Chars(ranges, classes, _):
            if classes:
                raise Inexpressible("pattern", "combines Unicode classes")
            return EMPTY if any(low <= code <= high for low, high in ranges) else NEVER
        case Cat(parts):
            if not parts:
                return NEVER
            first = _cat([derive(parts[0], code), *parts[1:]])
            return _alt([first, derive(Cat(parts[1:]), code)]) if nullable(parts[0]) else first
        case Alt(branches):
            return _alt([derive(branch, code) for branch in branches])
        case Rep(inner, _, _):
            return _cat([derive(inner, code), _rest(node)])
    raise Inexpressible("pattern", "has an anchor inside")


def _sets(node: Node, out: set[Ranges]) -> None:
    match node:
        case Chars(ranges, _, _):
            out.add(ranges)
        case Cat(parts) | Alt(parts):
            for part in parts:
                _sets(part, out)
        case Rep(inner, low, high):
            if max(low, high or 0) > MAX_COUNTED:
                raise Inexpressible("pattern", f"combines more than {MAX_COUNTED} repetitions")
            _sets(inner, out)


def alphabet(nodes: tuple[Node, ...]) -> list[Ranges]:
    """Classes of characters that no part of the expressions tells apart."""
    found: set[Ranges] = set()
    for node in nodes:
        _sets(node, found)
    edges = sorted(
        {low for ranges in found for low, _ in ranges} | {h + 1 for r in found for _, h in r} | {0}
    )
    groups: dict[tuple[bool, ...], list[tuple[int, int]]] = {}
    for low, following in zip(edges, [*edges[1:], TOP + 1], strict=True):
        if low <= TOP:
            key = tuple(any(a <= low <= b for a, b in ranges) for ranges in found)
            groups.setdefault(key, []).append((low, following - 1))
    return [union(group) for group in groups.values()]


def combine(nodes: tuple[Node, ...], accept: Accept) -> Node | None:
    """The strings for which ``accept`` likes which of ``nodes`` match; None when there are none.

    Raises Inexpressible when that takes too many states.
    """
    edges: Edges = {}
    final = list(_explore(nodes, accept, edges))
    return _eliminate(1 + max(to for _, to in edges), edges, set(final))


def apart(nodes: tuple[Node, ...]) -> bool:
    """Whether no string is matched by all of them. Raises Inexpressible as ``combine`` does."""
    return next(_explore(nodes, all, {}), None) is None


def _explore(nodes: tuple[Node, ...], accept: Accept, edges: Edges) -> Iterator[int]:
    """Fills in the edges of the automaton and yields its accepting states."""
    letters = alphabet(nodes)
    until = time.thread_time() + MAX_SECONDS
    states: dict[tuple[Node, ...], int] = {nodes: 0}
    queue = [nodes]
    while queue:
        at = queue.pop()
        if accept(tuple(nullable(node) for node in at)):
            yield states[at]
        if time.thread_time() > until:
            raise Inexpressible("pattern", "combines into something too large")
        for letter in letters:
            to = tuple(derive(node, letter[0][0]) for node in at)
            if to not in states:
                if len(states) >= MAX_STATES:
                    raise Inexpressible("pattern", "combines into something too large")
                states[to] = len(states)
                queue.append(to)
            edges.setdefault((states[at], states[to]), []).extend(letter)


def _eliminate(count: int, edges: Edges, final: set[int]) -> Node | None:
    graph: dict[int, dict[int, Node]] = {at: {} for at in range(-1, count + 1)}
    for (a, b), ranges in edges.items():
        graph[a][b] = Chars(union(ranges))
    graph[-1][0] = EMPTY
    for at in final:
        graph[at][count] = EMPTY
    live = _alive(graph, count)
    weight = {(a, b): 1 for a, out in graph.items() for b in out}
    for at in sorted(live - {-1, count}, key=lambda state: len(graph[state])):
        loop = graph[at].pop(at, None)
        middle = [Rep(loop, 0, None)] if loop else []
        around = weight.get((at, at), 0)
        for before in [s for s in live if at in graph[s] and s != at]:
            into = graph[before].pop(at)
            for after, out in graph[at].items():
                if after in live:
                    old = graph[before].get(after)
                    leaves = weight[before, at] + around + weight[at, after]
                    leaves += weight[before, after] if old else 0
                    if leaves > MAX_TEXT:  # a text doubles with each state that goes
                        raise Inexpressible("pattern", "combines into something too large")
                    weight[before, after] = leaves
                    step = _cat([into, *middle, out])
                    graph[before][after] = _alt([old, step]) if old else step
        live.discard(at)
    found = graph[-1].get(count)
    if found is not None and len(write(found)) > MAX_TEXT:
        raise Inexpressible("pattern", "combines into something too large")
    return found


def _alive(graph: dict[int, dict[int, Node]], goal: int) -> set[int]:
    alive, grew = {goal}, True
    while grew:
        more = {at for at, out in graph.items() if at not in alive and any(to in alive for to in out)}
        alive |= more
        grew = bool(more)
    return alive


@functools.lru_cache(512)
def both(nodes: tuple[Node, ...]) -> Node | None:
    """The strings that all expressions match."""
    return nodes[0] if len(nodes) == 1 else combine(nodes, all)


@functools.lru_cache(512)
def neither(nodes: tuple[Node, ...]) -> Node | None:
    """The strings that no expression matches."""
    return combine(nodes, lambda hits: not any(hits))
