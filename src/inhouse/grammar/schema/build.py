"""Puts the alternatives of a schema together again, as a schema of few and simple words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import arrays, objects, scalars
from .alternatives import Alternative, Plain
from .errors import Impossible, Inexpressible, TooComplex
from .expand import FRAMES, IN_PLACE, WORDS, Expander, Flat
from .made import KINDS, frame, kind_of
from .source import Source, nodes

MAX_STATES = 4_000
MAX_DEPTH = 4
_MEANING = frozenset().union(*WORDS.values(), *FRAMES.values(), IN_PLACE)


@dataclass(frozen=True)
class Rewritten:
    """``schema`` is for the engine; ``states`` how many parts it has."""

    schema: dict[str, Any]
    states: int


class Builder(Expander):
    """Numbers the sets of schemas that values inside must satisfy; recursion meets the same set again."""

    def __init__(self, source: Source, *, lenient: bool = False) -> None:
        super().__init__(source, lenient=lenient)
        self._states: dict[tuple[int, ...], int] = {}
        self._sets: list[tuple[int, ...]] = []
        self._pending: list[tuple[int, ...]] = []
        self._alternatives: dict[int, list[Alternative]] = {}
        self._dead: dict[tuple[tuple[int, ...], str], bool] = {}
        self._depth = 0

    def goals(self, nodes: Iterable[Any]) -> tuple[int, ...]:
        """The numbers of the schemas that say something."""
        kept = dict.fromkeys(self.source.number(node) for node in nodes if not _silent(node))
        return tuple(kept)

    def state(self, goals: tuple[int, ...]) -> int:
        """The number of a set of schemas."""
        found = self._states.get(goals)
        if found is None:
            found = self._states[goals] = len(self._states)
            self._sets.append(goals)
            self._pending.append(goals)
            if found > MAX_STATES:
                raise TooComplex("schema", "is too large")
        return found

    def dead(self, goals: tuple[int, ...], only: str = "") -> bool:
        """Whether no value is valid under all of them, as far as can be seen."""
        if not goals:
            return False
        key = (goals, only)
        if key not in self._dead:
            if self._depth >= MAX_DEPTH:
                return False
            self._dead[key] = False  # while asking: recursion
            self._depth += 1
            try:
                self._dead[key] = all(
                    self._empty(Flat(kind, [self.source.node(goal) for goal in goals]))
                    for kind in ([only] if only else KINDS)
                )
            finally:
                self._depth -= 1
        return self._dead[key]

    def dead_state(self, state: int) -> bool:
        """The same for a numbered set."""
        return self.dead(self._sets[state])

    def listed(self, goals: tuple[int, ...]) -> list[Any] | None:
        """All values that fit, where they are few and scalar."""
        out: list[Any] = []
        for kind in KINDS if goals else ():
            for flat in self.expand(kind, goals):
                if kind in ("array", "object"):
                    return None
                for schema in scalars.close(flat, draft=self.source.draft, lenient=self.lenient):
                    values = _values(schema)
                    if values is None:
                        return None
                    out += [value for value in values if not any(_same(value, other) for other in out)]
        return out if goals else None

    def contradicts(self, flat: Flat) -> bool:
        if flat.kind == "object":
            return any(
                self.dead(self.goals(objects.of_name(flat, name))) or not objects.name_fits(self, flat, name)
                for names in flat.words.get("required", ())
                for name in names
            )
        if flat.kind == "array":
            low = max(flat.words.get("minItems", [0]))
            frames = [frame(node, self.source.draft) for node in flat.frames]
            if low > min(flat.words.get("maxItems", [low])):
                return True
            places = [[p[at] if at < len(p) else rest for p, rest in frames] for at in range(min(low, 8))]
            return any(self.dead(self.goals(nodes)) for nodes in places)
        try:
            return not scalars.close(flat, draft=self.source.draft, lenient=self.lenient)
        except Inexpressible:
            return False

    def build(self) -> Rewritten:
        """The whole schema again. Raises Inexpressible or Impossible."""
        root = self.state(self.goals([self.source.root]))
        while self._pending:
            goals = self._pending.pop()
            self._alternatives[self._states[goals]] = self._close(goals)
        live = self._live()
        if root not in live:
            if self.narrowed:
                raise Inexpressible("not", "leaves only numbers with a fraction")
            raise Impossible
        return Rewritten(
            _Writer(self._alternatives, live, self._states.get(())).whole(root), len(self._states)
        )

    def _close(self, goals: tuple[int, ...]) -> list[Alternative]:
        out: list[Alternative] = []
        for kind in KINDS if goals else ():
            for flat in self.expand(kind, goals):
                if kind == "object":
                    out += objects.close(self, flat)
                elif kind == "array":
                    out += arrays.close(self, flat)
                else:
                    out += map(Plain, scalars.close(flat, draft=self.source.draft, lenient=self.lenient))
        return out

    def _live(self) -> set[int]:
        """States for which a finite value exists."""
        live = {self._states[()]} if () in self._states else set()
        grew = True
        while grew:
            more = {
                state
                for state, alternatives in self._alternatives.items()
                if state not in live and any(alternative.lives(live) for alternative in alternatives)
            }
            live |= more
            grew = bool(more)
        return live


class _Writer:
    def __init__(
        self, alternatives: dict[int, list[Alternative]], live: set[int], anything: int | None
    ) -> None:
        self._alternatives = alternatives
        self._live = live
        self._anything = anything
        self._definitions: dict[str, Any] = {}

    def whole(self, root: int) -> dict[str, Any]:
        if root == self._anything:
            return {}
        schema = dict(self._schema(root))
        return schema | {"$defs": self._definitions} if self._definitions else schema

    def write(self, state: int) -> Any:
        if state == self._anything:
            return True
        if all(isinstance(alternative, Plain) for alternative in self._alternatives[state]):
            return self._schema(state)
        name = f"s{state}"
        if name not in self._definitions:
            self._definitions[name] = None  # while writing: recursion
            self._definitions[name] = self._schema(state)
        return {"$ref": f"#/$defs/{name}"}

    def _schema(self, state: int) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        for alternative in self._alternatives[state]:
            if alternative.lives(self._live):
                schema = alternative.write(self.write, self._live)
                if schema not in found:
                    found.append(schema)
        return found[0] if len(found) == 1 else {"anyOf": found}


def _silent(node: Any) -> bool:
    return node is True or (
        isinstance(node, Mapping) and not any(key in _MEANING or key.startswith("\0") for key in node)
    )


def _values(schema: dict[str, Any]) -> list[Any] | None:
    if "enum" in schema:
        return list(schema["enum"])
    if "const" in schema:
        return [schema["const"]]
    listed: dict[str, list[Any]] = {"null": [None], "boolean": [True, False]}
    return listed.get(schema.get("type", ""))


def _same(one: Any, other: Any) -> bool:
    return kind_of(one) == kind_of(other) and bool(one == other)


def rewrite(schema: Mapping[str, Any] | bool, *, lenient: bool = False) -> Rewritten:
    """The schema in words that engines enforce.

    ``lenient`` leaves out what cannot be enforced. Raises Inexpressible naming the keyword, or Impossible.
    """
    if any(key.startswith("\0") for node in nodes(schema) for key in node):
        raise Inexpressible("schema", "has names that begin with NUL")
    try:
        return Builder(Source(schema), lenient=lenient).build()
    except RecursionError:
        raise TooComplex("schema", "is nested too deeply") from None
