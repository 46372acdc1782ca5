"""The table of all that is kept. Blocking; used from one thread."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import BadRequest, InhouseError, NoSpace, StoreError
from .kept import Kept, Page, pack

ROW_COST = 256  # bytes that a row takes beside its body, roughly
SWEEP_EVERY = 3600.0
_VERSION = 1
_TABLE = """
CREATE TABLE kept (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, parent TEXT NOT NULL,
    created REAL NOT NULL, expires REAL,
    body TEXT NOT NULL, size INTEGER NOT NULL,
    content TEXT NOT NULL DEFAULT '', content_size INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant, kind, id)
);
CREATE INDEX kept_lists ON kept (tenant, kind, parent, seq);
CREATE INDEX kept_ends ON kept (expires);
"""
_PUT = """
INSERT INTO kept (tenant, kind, id, parent, created, expires, body, size, content, content_size)
VALUES (:tenant, :kind, :id, :parent, :created, :expires, :body, :size, :content, :content_size)
ON CONFLICT (tenant, kind, id) DO UPDATE SET
    parent = excluded.parent, created = excluded.created, expires = excluded.expires,
    body = excluded.body, size = excluded.size,
    content = CASE excluded.content WHEN '' THEN content ELSE excluded.content END,
    content_size = CASE excluded.content WHEN '' THEN content_size ELSE excluded.content_size END
"""
_FIELDS = "kind, id, tenant, created, body, parent, expires"
_ONE = "tenant = ? AND kind = ? AND id = ?"


@dataclass(frozen=True, slots=True)
class Content:
    """A file beside the table: its name in the folder and its size in bytes."""

    name: str = ""
    size: int = 0


class Shelf:
    """``most`` bytes of bodies and contents; what was kept first goes first. ``days`` 0: for ever."""

    def __init__(self, folder: Path, *, days: int, most: int) -> None:
        self.contents = folder / "contents"
        self._days = days
        self._most = most
        self._swept = 0.0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.contents.mkdir(mode=0o700, exist_ok=True)
        path = folder / "kept.sqlite"
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None)
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        for pragma in (
            "auto_vacuum = FULL",
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "secure_delete = ON",
            "busy_timeout = 5000",
        ):
            self._db.execute(f"PRAGMA {pragma}").fetchall()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._db.executescript(f"BEGIN; {_TABLE} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise StoreError(
                "What is kept was written by a newer version.", hint="Use that version, or another home."
            )
        (self._total,) = self._db.execute("SELECT coalesce(sum(size + content_size), 0) FROM kept").fetchone()
        self.sweep()
        self._drop_strays()

    def _drop_strays(self) -> None:
        """Contents whose upload never ended, or whose row was deleted just before a crash."""
        named = {name for (name,) in self._db.execute("SELECT content FROM kept WHERE content != ''")}
        for file in self.contents.iterdir():
            if file.name not in named:
                file.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the file back; idempotent."""
        self._db.close()

    def put(self, many: Iterable[Kept], content: Content = Content()) -> None:
        """All or none. Raises NoSpace when they cannot fit. ``content`` belongs to each of them."""
        rows: list[dict[str, Any]] = []
        for kept in many:
            body = pack(kept.body)
            rows.append(
                {
                    "tenant": kept.tenant, "kind": kept.kind, "id": kept.id, "parent": kept.parent,
                    "created": kept.created, "expires": self.end(kept), "body": body,
                    "size": len(body.encode()) + ROW_COST, "content": content.name,
                    "content_size": content.size,
                }
            )  # fmt: skip
        if sum(row["size"] + content.size for row in rows) > self._most:
            raise NoSpace(
                "This is larger than all that may be kept here.", hint="Raise keep.max (INHOUSE_KEEP_MAX)."
            )
        self._db.execute("BEGIN IMMEDIATE")
        try:
            before = self._weight(rows)
            self._db.executemany(_PUT, rows)
            change = self._weight(rows) - before
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._total += change
        if time.time() - self._swept > SWEEP_EVERY:
            self.sweep()
        self._trim()

    def replace(self, kept: Kept) -> bool:
        """Put it if it is there."""
        if self.get(kept.kind, kept.id, kept.tenant) is None:
            return False
        self.put([kept])
        return True

    def end(self, kept: Kept) -> float | None:
        """When the time of an object is over."""
        if kept.expires is not None or not self._days:
            return kept.expires
        return kept.created + self._days * 86_400

    def _weight(self, rows: list[dict[str, Any]]) -> int:
        """What these objects take now."""
        total = 0
        for names in {(row["tenant"], row["kind"], row["id"]) for row in rows}:
            found = self._db.execute(
                f"SELECT size + content_size FROM kept WHERE {_ONE}",  # noqa: S608
                names,
            ).fetchone()
            total += found[0] if found else 0
        return total

    def get(self, kind: str, ident: str, tenant: str) -> Kept | None:
        """The object, unless its time is over."""
        row = self._db.execute(
            f"SELECT {_FIELDS} FROM kept WHERE {_ONE} AND (expires IS NULL OR expires > ?)",  # noqa: S608
            (tenant, kind, ident, time.time()),
        ).fetchone()
        return None if row is None else _kept(row)

    def content(self, kind: str, ident: str, tenant: str) -> Path | None:
        """Where the content of an object lies."""
        row = self._db.execute(
            f"SELECT content FROM kept WHERE {_ONE} AND (expires IS NULL OR expires > ?)",  # noqa: S608
            (tenant, kind, ident, time.time()),
        ).fetchone()
        return self.contents / row[0] if row and row[0] else None

    def page(self, kind: str, tenant: str, asked: Page) -> tuple[list[Kept], bool]:
        """In the order of keeping. Raises BadRequest when ``after`` or ``before`` is not there."""
        where = ["tenant = ?", "kind = ?", "(expires IS NULL OR expires > ?)"]
        values: list[object] = [tenant, kind, time.time()]
        if asked.parent:
            where.append("parent = ?")
            values.append(asked.parent)
        for name, cursor, later in (("after", asked.after, True), ("before", asked.before, False)):
            if cursor is not None:
                where.append("seq > ?" if later == asked.ascending else "seq < ?")
                values.append(self._place(name, kind, cursor, tenant))
        for member, wanted in asked.match.items():
            nested = isinstance(wanted, Mapping)
            pairs = wanted.items() if isinstance(wanted, Mapping) else [(member, wanted)]
            for key, text in pairs:
                where.append("EXISTS (SELECT 1 FROM json_each(body, ?) WHERE key = ? AND value = ?)")
                values += [f'$."{member}"' if nested else "$", key, text]
        # With only ``before`` the page is the one that ends there.
        backwards = asked.before is not None and asked.after is None
        order = "ASC" if asked.ascending != backwards else "DESC"
        rows = self._db.execute(
            f"SELECT {_FIELDS} FROM kept WHERE {' AND '.join(where)} ORDER BY seq {order} LIMIT ?",  # noqa: S608
            [*values, asked.limit + 1],
        ).fetchall()
        found = [_kept(row) for row in rows[: asked.limit]]
        return (found[::-1] if backwards else found), len(rows) > asked.limit

    def _place(self, name: str, kind: str, ident: str, tenant: str) -> int:
        row = self._db.execute(f"SELECT seq FROM kept WHERE {_ONE}", (tenant, kind, ident)).fetchone()  # noqa: S608
        if row is None:
            raise BadRequest(
                f"Invalid value for '{name}': nothing with this id is kept.",
                hint="Use an id of the page before.",
                param=name,
            )
        return int(row[0])

    def delete(self, kind: str, ident: str, tenant: str, children: bool) -> bool:
        """Whether it was there. ``children``: also what has it as parent."""
        found = self._remove(_ONE, (tenant, kind, ident))
        if found and children:
            self._remove("tenant = ? AND parent = ?", (tenant, ident))
        return found

    def sweep(self) -> None:
        """Delete what has expired."""
        self._swept = time.time()
        self._remove("expires IS NOT NULL AND expires <= ?", (self._swept,))
        self._trim()

    def _trim(self) -> None:
        """Delete what was kept first until a tenth is free: one look at the table for many puts."""
        if self._total <= self._most:
            return
        enough, last, freed = self._total - self._most * 9 // 10, 0, 0
        (newest,) = self._db.execute("SELECT max(seq) FROM kept").fetchone()
        for seq, size in self._db.execute("SELECT seq, size + content_size FROM kept ORDER BY seq"):
            if freed >= enough or seq == newest:
                break
            last, freed = seq, freed + size
        self._remove("seq <= ?", (last,))

    def _remove(self, where: str, values: tuple[object, ...]) -> bool:
        rows = self._db.execute(
            f"DELETE FROM kept WHERE {where} RETURNING content, size + content_size",  # noqa: S608
            values,
        ).fetchall()
        for content, size in rows:
            self._total -= size
            if content:
                (self.contents / content).unlink(missing_ok=True)
        return bool(rows)


def _kept(row: tuple[str, str, str, float, str, str, float | None]) -> Kept:
    kind, ident, tenant, created, body, parent, expires = row
    return Kept(kind, ident, tenant, created, json.loads(body), parent, expires)


def translated(error: sqlite3.Error | OSError) -> InhouseError:
    """An error of SQLite or of the disk as one of ours."""
    full = isinstance(error, OSError) and error.errno in (28, 122)  # ENOSPC, EDQUOT
    if full or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return NoSpace("The disk is full: nothing more can be kept.", hint="Free some space.")
    return StoreError(
        "What is kept cannot be read or written.", hint="Look at the server's log.", detail=repr(error)
    )
