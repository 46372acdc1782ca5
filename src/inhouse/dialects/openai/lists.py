"""Lists of kept objects: what the query asks for, and the object around a page."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from ...core.errors import BadRequest
from ..fields import wrong_value
from ..wire import dumps

_WHOLE = re.compile(r"\d{1,6}\Z", re.ASCII)
_METADATA = re.compile(r"metadata\[(.*)\]\Z", re.DOTALL)
MAX_FIELDS = 64


@dataclass(frozen=True, slots=True)
class ListQuery:
    """``fields``: the others by name; ``metadata``: the pairs of ``metadata[key]=value``."""

    limit: int
    ascending: bool
    after: str | None = None
    before: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


def read_query(query: bytes, *, limit: int = 20, most: int = 100, ascending: bool = False) -> ListQuery:
    """A list's query string; ``limit`` and ``ascending`` are the defaults. Raises BadRequest."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError:
        raise BadRequest("The query is malformed.", hint="Encode it as UTF-8.") from None
    fields, metadata = {}, {}
    for name, value in pairs:
        if (found := _METADATA.match(name)) is not None:
            metadata[found[1]] = value
        else:
            fields[name] = value
    asked = fields.pop("limit", str(limit))
    if not _WHOLE.match(asked) or not 1 <= int(asked) <= most:
        wrong_value("limit", f"a whole number from 1 to {most}", asked)
    order = fields.pop("order", "asc" if ascending else "desc")
    if order not in ("asc", "desc"):
        wrong_value("order", "'asc' or 'desc'", order)
    after, before = fields.pop("after", None), fields.pop("before", None)
    return ListQuery(int(asked), order == "asc", after or None, before or None, fields, metadata)


def list_object(data: list[dict[str, Any]], more: bool) -> dict[str, Any]:
    """The object around a page; every item has an ``id``."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": more,
    }


def render_list(data: list[dict[str, Any]], more: bool) -> bytes:
    """``list_object`` as JSON."""
    return dumps(list_object(data, more))
