"""/v1/models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...core.models import Card
from ..wire import dumps


def _model(card: Card) -> dict[str, Any]:
    return {
        "id": str(card.name),
        "object": "model",
        "created": int(card.modified_at),
        "owned_by": card.name.namespace,
    }


def render_model(card: Card) -> bytes:
    """Body of GET /v1/models/{id}."""
    return dumps(_model(card))


def render_models(cards: Iterable[Card]) -> bytes:
    """Body of GET /v1/models, in the order given."""
    return dumps({"object": "list", "data": [_model(card) for card in cards]})
