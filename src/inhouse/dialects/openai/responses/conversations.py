"""Bodies and objects of /v1/conversations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ....core.json import parse
from ...fields import Fields, missing, wrong_value
from ..hints import read_metadata
from .items import kept_input
from .names import item_id
from .requests import read_include

MAX_NEW = 20


def renewed(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items with new ids: what comes into a conversation is not what it was copied from."""
    return [{**item, "id": item_id(item["type"])} for item in items]


def _items(fields: Fields) -> list[dict[str, Any]]:
    fields.items("items", MAX_NEW)
    return list(kept_input(fields, "items"))


def decode_conversation(body: bytes) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """POST /v1/conversations: metadata and first items. Raises BadRequest."""
    fields = Fields(parse(body or b"{}"))
    return read_metadata(fields), _items(fields)


def decode_conversation_update(body: bytes) -> dict[str, str]:
    """POST /v1/conversations/{id}: the new metadata. Raises BadRequest."""
    fields = Fields(parse(body))
    if "metadata" not in fields.whole_object():
        missing("metadata", "an object, or null to clear it")
    return read_metadata(fields)


def decode_items(body: bytes) -> list[dict[str, Any]]:
    """POST /v1/conversations/{id}/items: at most 20 new items. Raises BadRequest."""
    fields = Fields(parse(body))
    read_include(fields)
    items = _items(fields)
    if not items:
        wrong_value("items", "at least one item")
    return items


def conversation_object(ident: str, created: float, metadata: dict[str, str]) -> dict[str, Any]:
    """The conversation as every route shows it."""
    return {"id": ident, "object": "conversation", "created_at": int(created), "metadata": metadata}
