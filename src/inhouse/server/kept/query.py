"""The query of a request, read as strictly as a body."""

from __future__ import annotations

import re
from typing import NoReturn
from urllib.parse import parse_qs

from ...core.errors import BadRequest
from ..answers import Scope

_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_WHOLE = re.compile(r"-?\d{1,18}\Z", re.ASCII)


class Query:
    """Typed readers over the query string; empty values count as absent."""

    def __init__(self, scope: Scope) -> None:
        raw = scope.get("query_string", b"").decode("latin-1")
        self._values = parse_qs(raw, max_num_fields=100)

    @classmethod
    def of(cls, scope: Scope) -> Query:
        """Raises BadRequest when there are too many fields."""
        try:
            return cls(scope)
        except ValueError:
            raise BadRequest("The query has too many fields.", hint="Send fewer.") from None

    def many(self, name: str) -> list[str]:
        """All values of ``name`` and of ``name[]``."""
        return [*self._values.get(name, ()), *self._values.get(f"{name}[]", ())]

    def text(self, name: str) -> str | None:
        """The last value."""
        found = self.many(name)
        return found[-1] if found else None

    def choice(self, name: str, *choices: str) -> str | None:
        """One of a few strings. Raises BadRequest."""
        value = self.text(name)
        if value is not None and value not in choices:
            _refuse(name, "one of " + ", ".join(f"'{one}'" for one in choices))
        return value

    def whole(self, name: str, lo: int, hi: int) -> int | None:
        """A whole number within ``lo..hi``. Raises BadRequest."""
        value = self.text(name)
        if value is None:
            return None
        if not _WHOLE.match(value) or not lo <= int(value) <= hi:
            _refuse(name, f"a whole number from {lo} to {hi}")
        return int(value)

    def flag(self, name: str) -> bool:
        """True or false; absent is false. Raises BadRequest."""
        value = self.text(name)
        if value is not None and value.lower() not in _FLAGS:
            _refuse(name, "true or false")
        return value is not None and _FLAGS[value.lower()]


def _refuse(name: str, expected: str) -> NoReturn:
    raise BadRequest(
        f"Invalid value for '{name}': expected {expected}.",
        hint="The API reference says what each field takes.",
        param=name,
    )
