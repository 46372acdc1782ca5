"""What a rewritten schema is made of: alternatives of one type, with the numbers of the states inside."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

EVERY_KEY = r"^[\s\S]*$"

Write = Callable[[int], Any]


@dataclass(frozen=True)
class Plain:
    """A schema with nothing inside."""

    schema: dict[str, Any]

    @property
    def inner(self) -> tuple[int, ...]:
        return ()

    def lives(self, live: Container[int]) -> bool:
        """Whether some value fits when only ``live`` states have values."""
        return True

    def write(self, write: Write, live: Container[int]) -> dict[str, Any]:
        """As a schema; ``write`` gives that of a state."""
        return self.schema


@dataclass(frozen=True)
class Items:
    """An array: ``prefix`` are the states of its first items, ``tail`` of all others."""

    prefix: tuple[int, ...]
    tail: int
    low: int
    high: int | None

    @property
    def inner(self) -> tuple[int, ...]:
        return (*self.prefix, self.tail)

    def _top(self, live: Container[int]) -> int | None:
        tops = [self.high] if self.high is not None else []
        tops += [at for at, state in enumerate(self.prefix) if state not in live][:1]
        tops += [len(self.prefix)] if self.tail not in live else []
        return min(tops, default=None)

    def lives(self, live: Container[int]) -> bool:
        top = self._top(live)
        return top is None or top >= self.low

    def write(self, write: Write, live: Container[int]) -> dict[str, Any]:
        top = self._top(live)
        prefix = self.prefix if top is None else self.prefix[:top]
        out: dict[str, Any] = {"type": "array"}
        if prefix:
            out["prefixItems"] = [write(state) for state in prefix]
        open_ended = top is None or top > len(prefix)
        out["items"] = write(self.tail) if open_ended else False
        if self.low:
            out["minItems"] = self.low
        if top is not None and open_ended:
            out["maxItems"] = top
        return out


@dataclass(frozen=True)
class Fields:
    """An object: ``named`` are ``(name, state, required)``, ``keyed`` expressions of other names.

    ``low`` and ``high`` count the properties that are not named.
    """

    named: tuple[tuple[str, int, bool], ...]
    keyed: tuple[tuple[str, int], ...]
    low: int = 0
    high: int | None = None

    @property
    def inner(self) -> tuple[int, ...]:
        return (*(state for _, state, _ in self.named), *(state for _, state in self.keyed))

    def lives(self, live: Container[int]) -> bool:
        if any(required and state not in live for _, state, required in self.named):
            return False
        return not self.low or any(state in live for _, state in self.keyed)

    def write(self, write: Write, live: Container[int]) -> dict[str, Any]:
        keyed = {key: write(state) for key, state in self.keyed if state in live}
        named = {name: write(state) if state in live else False for name, state, _ in self.named}
        if not keyed or self.high == 0:
            keyed = {}
            named = {name: schema for name, schema in named.items() if schema is not False}
        out: dict[str, Any] = {"type": "object", "properties": named}
        required = [name for name, _, needed in self.named if needed]
        if required:
            out["required"] = required
        if keyed:
            out["patternProperties"] = keyed
        out["additionalProperties"] = False
        if self.low:
            out["minProperties"] = self.low + len(required)
        if self.high:
            out["maxProperties"] = self.high + len(required)
        return out


Alternative = Plain | Items | Fields
