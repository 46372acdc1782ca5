"""Where a request runs. Today every target is local: nothing leaves this machine."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.models import Card
from ..core.requests import Request


@dataclass(frozen=True, slots=True)
class Route:
    """``targets`` in the order to try them, and a reason a person can read."""

    targets: tuple[Card, ...]
    reason: str


def route(request: Request, card: Card) -> Route:
    """Decide where ``request`` runs."""
    return Route((card,), f"{card.name} is a local model")
