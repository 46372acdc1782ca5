"""The application: finds the row of the route table and calls it."""

from __future__ import annotations

import dataclasses

from .answers import HttpError, Receive, Scope, Send
from .manage.services import Services
from .routes import ROUTES, Row


class App:
    """ASGI application over the table of routes; unknown paths are 404, wrong methods 405."""

    def __init__(self, services: Services, rows: tuple[Row, ...] = ROUTES) -> None:
        self._services = dataclasses.replace(services, routes=rows)
        self._exact: dict[str, dict[str, Row]] = {}
        self._under: list[tuple[str, dict[str, Row]]] = []
        for row in rows:
            if row.path.endswith("}"):
                prefix = row.path[: row.path.index("{")]
                table = dict(self._under).get(prefix)
                if table is None:
                    table = {}
                    self._under.append((prefix, table))
            else:
                table = self._exact.setdefault(row.path, {})
            for method in row.methods:
                table[method] = row

    def find(self, method: str, path: str) -> Row:
        """The row of a request. Raises HttpError 404 or 405."""
        table = self._exact.get(path)
        if table is None:
            for prefix, candidate in self._under:
                if path.startswith(prefix) and len(path) > len(prefix):
                    table = candidate
                    break
        if table is None:
            raise HttpError(404, "There is nothing at this path; see /docs.")
        row = table.get(method)
        if row is None:
            allowed = ", ".join(sorted(table))
            raise HttpError(405, f"This path takes {allowed}.", [(b"allow", allowed.encode())])
        return row

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        row = self.find(scope["method"], scope["path"])
        await row.endpoint(self._services, scope, receive, send)
