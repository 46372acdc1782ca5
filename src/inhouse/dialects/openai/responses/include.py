"""What ``include`` adds to items that are shown again."""

from __future__ import annotations

from typing import Any

from .requests import SEALED
from .sealed import seal


def shown_item(item: dict[str, Any], include: frozenset[str]) -> dict[str, Any]:
    """The item with the opaque reasoning text where that was asked for."""
    if item.get("type") != "reasoning" or SEALED not in include or item.get("encrypted_content"):
        return item
    parts = [*(item.get("content") or ()), *(item.get("summary") or ())]
    text = "".join(part.get("text") or "" for part in parts)
    return {**item, "encrypted_content": seal(text)}
