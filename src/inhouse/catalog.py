"""What models there are, and whether one can do what a request asks."""

from __future__ import annotations

from collections.abc import Sequence

from .core.errors import ModelNotFound, Unsupported
from .core.messages import Image
from .core.models import DEFAULT_TAG, Card
from .core.requests import Chat, Complete, Request
from .store import catalogue
from .store.store import Store


class Catalog:
    """Names to cards: the store's models and some extra ones that need no file (the fake engine's)."""

    def __init__(self, store: Store, extra: Sequence[Card] = ()) -> None:
        self._store = store
        self._extra = {card.name.key: card for card in extra}

    def resolve(self, text: str) -> Card:
        """The card of a name (or ``pypi:`` text) as a client wrote it, in any case.

        ``smollm2`` is ``smollm2:latest``; if only the tag that the shipped catalogue means by it is
        stored, that one. Raises BadRequest, InvalidName, ModelNotFound, StoreError.
        """
        name = self._store.name_of(text)
        card = self._extra.get(name.key)
        if card is not None:
            return card
        try:
            return self._store.get(name)
        except ModelNotFound:
            meant = catalogue.default_tag(name) if name.tag.lower() == DEFAULT_TAG else None
            if meant is not None:
                try:
                    return self._store.get(meant)
                except ModelNotFound:
                    pass
            raise ModelNotFound(text) from None

    def cards(self) -> list[Card]:
        """Every model that can be asked, newest first; extra ones hide stored ones of their name."""
        stored = [card for card in self._store.cards() if card.name.key not in self._extra]
        return sorted((*self._extra.values(), *stored), key=lambda card: -card.modified_at)


def _refuse(request: Request, what: str, hint: str, param: str | None) -> Unsupported:
    return Unsupported(f'"{request.model}" does not support {what}', hint=hint, param=param)


def check(request: Request, card: Card) -> None:
    """Refuse what this model cannot do, in Ollama's words. Raises Unsupported.

    Tools are never refused: they are made to work on any chat model. Neither are embeddings.
    """
    can = card.capabilities
    if isinstance(request, Chat):
        if "completion" not in can:
            raise _refuse(request, "chat", "This model makes embeddings. Choose another for chat.", "model")
        if "vision" not in can and any(isinstance(p, Image) for m in request.messages for p in m.parts):
            raise _refuse(request, "vision", "Leave the images out, or choose a vision model.", "messages")
        if request.think not in (None, False) and "thinking" not in can:
            raise _refuse(request, "thinking", "Leave 'think' out, or choose a thinking model.", "think")
    elif isinstance(request, Complete):
        if "completion" not in can:
            hint = "This model makes embeddings. Choose another for text."
            raise _refuse(request, "generate", hint, "model")
        if request.suffix is not None and "insert" not in can:
            raise _refuse(request, "insert", "Leave 'suffix' out, or choose a code model.", "suffix")
