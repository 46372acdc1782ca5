"""/v1/models as Anthropic lists them, page by page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ...core.models import Card
from ..fields import wrong_value
from ..wire import dumps

_STAGES = ("active", "deprecated", "retired")
_NEVER = ("batch", "citations", "code_execution", "pdf_input")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")


def _can(yes: bool) -> dict[str, bool]:
    return {"supported": yes}


def _capabilities(card: Card) -> dict[str, Any]:
    chat, thinks = "completion" in card.capabilities, "thinking" in card.capabilities
    kinds = {"adaptive": chat, "between_tools": False, "disabled": chat, "enabled": thinks}
    return {
        **{name: _can(False) for name in _NEVER},
        "context_management": {
            "supported": chat,
            "clear_thinking_20251015": _can(chat),
            "clear_tool_uses_20250919": _can(False),
            "compact_20260112": _can(False),
        },
        "effort": {"supported": thinks, **{name: _can(thinks) for name in _EFFORTS}},
        "image_input": _can("vision" in card.capabilities),
        "server_tools": {
            "supported": False,
            **{name: _can(False) for name in ("code_execution", "web_search")},
        },
        "structured_outputs": _can(chat),
        "thinking": {"supported": thinks, "types": {name: _can(yes) for name, yes in kinds.items()}},
    }


def _model(card: Card) -> dict[str, Any]:
    length = card.tuning.context_length or card.context_length or None
    created = datetime.fromtimestamp(int(card.modified_at), UTC)
    return {
        "type": "model",
        "id": str(card.name),
        "display_name": str(card.name),
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "line": None,
        "deprecated_at": None,
        "retires_at": None,
        "max_input_tokens": length,
        "max_tokens": length,
        "capabilities": _capabilities(card),
    }


def render_model(card: Card) -> bytes:
    """Body of GET /v1/models/{id}."""
    return dumps(_model(card))


def render_models(cards: Iterable[Card], query: Mapping[str, Sequence[str]]) -> bytes:
    """Body of GET /v1/models, in the order given. ``query``: its parameters, each with its values.

    ``after_id`` gives the page after a model, ``before_id`` the page before it. Raises BadRequest.
    """
    limit = _limit(query)
    stages = _values(query, "lifecycle")
    for stage in stages:
        if stage not in _STAGES:
            wrong_value("lifecycle", "'active', 'deprecated' or 'retired'", stage)
    found = [] if stages and "active" not in stages else list(cards)
    names = [str(card.name) for card in found]
    after, before = _place(query, "after_id", names), _place(query, "before_id", names)
    if after is not None and before is not None:
        wrong_value("before_id", "only one of before_id and after_id")
    if before is not None:
        page, more = found[max(0, before - limit) : before], before > limit
    else:
        start = 0 if after is None else after + 1
        page, more = found[start : start + limit], len(found) > start + limit
    return dumps(
        {
            "data": [_model(card) for card in page],
            "has_more": more,
            "first_id": str(page[0].name) if page else None,
            "last_id": str(page[-1].name) if page else None,
        }
    )


def _values(query: Mapping[str, Sequence[str]], name: str) -> list[str]:
    """Clients write arrays as ``name``, ``name[]`` or with commas."""
    given = [*query.get(name, ()), *query.get(f"{name}[]", ())]
    return [part for value in given for part in value.split(",") if part]


def _limit(query: Mapping[str, Sequence[str]]) -> int:
    given = query.get("limit")
    if not given:
        return 20
    text = given[0]
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= 1000):
        wrong_value("limit", "a whole number from 1 to 1000", text)
    return int(text)


def _place(query: Mapping[str, Sequence[str]], name: str, names: list[str]) -> int | None:
    given = query.get(name)
    if not given:
        return None
    if given[0] not in names:
        wrong_value(name, "the id of a listed model", given[0])
    return names.index(given[0])
