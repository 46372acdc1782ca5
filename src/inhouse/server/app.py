"""The application: finds the row of the route table and calls it."""

from __future__ import annotations

import dataclasses
import re

from .answers import HttpError, Receive, Scope, Send
from .manage.services import Services
from .routes import ROUTES, Row

_PLACE = re.compile(r"\{(\w+)(:path)?\}")


def pattern(path: str) -> re.Pattern[str]:
    """What a row's path matches: ``{name}`` is one segment, ``{name:path}`` all the rest."""
    out, at = "", 0
    for place in _PLACE.finditer(path):
        out += re.escape(path[at : place.start()]) + f"(?P<{place[1]}>{'.+' if place[2] else '[^/]+'})"
        at = place.end()
    return re.compile(out + re.escape(path[at:]), re.DOTALL)


class App:
    """ASGI application over the table of routes; unknown paths are 404, wrong methods 405.

    What stands in the places of a path comes to the endpoint as ``scope["params"]``.
    """

    def __init__(self, services: Services, rows: tuple[Row, ...] = ROUTES) -> None:
        self._services = dataclasses.replace(services, routes=rows)
        self._exact: dict[str, dict[str, Row]] = {}
        self._placed: dict[str, tuple[re.Pattern[str], dict[str, Row]]] = {}
        for row in rows:
            if "{" in row.path:
                table = self._placed.setdefault(row.path, (pattern(row.path), {}))[1]
            else:
                table = self._exact.setdefault(row.path, {})
            for method in row.methods:
                table[method] = row

    def find(self, method: str, path: str) -> tuple[Row, dict[str, str]]:
        """The row of a request and what stands in its places. Raises HttpError 404 or 405."""
        table, params = self._exact.get(path), {}
        if table is None:
            for matcher, candidate in self._placed.values():
                if (match := matcher.fullmatch(path)) is not None:
                    table, params = candidate, match.groupdict()
                    break
        if table is None:
            raise HttpError(404, "There is nothing at this path; see /docs.")
        row = table.get(method)
        if row is None:
            allowed = ", ".join(sorted(table))
            raise HttpError(405, f"This path takes {allowed}.", [(b"allow", allowed.encode())])
        return row, params

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        row, scope["params"] = self.find(scope["method"], scope["path"])
        await row.endpoint(self._services, scope, receive, send)
