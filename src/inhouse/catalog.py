"""What models there are, and whether one can do what a request asks."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from .core.errors import ModelNotFound, Unsupported
from .core.messages import Image, Message, Remote, Role, Text, ToolResult
from .core.models import DEFAULT_TAG, Card
from .core.requests import Chat, Complete, LoadOptions, Render, Request, Rerank
from .store import catalogue
from .store.store import Store

_ROLES: Final[dict[str, Role]] = {"system": "system", "user": "user", "assistant": "assistant"}
_MOST: Final = 2**31 - 1
_LOOKS: Final = 4


class Catalog:
    """Names to cards: the store's models and some extra ones that need no file (the fake engine's).
    Blocking (small files)."""

    def __init__(self, store: Store, extra: Sequence[Card] = ()) -> None:
        self._store = store
        self._extra = {card.name.key: card for card in extra}

    def resolve(self, text: str) -> Card:
        """The card of a name or source text as a client wrote it, in any case.

        ``smollm2`` is ``smollm2:latest``; if only the tag that the shipped catalogue means by it is
        stored, that one. Raises BadRequest, InvalidName, ModelNotFound, StoreError.
        """
        name = self._store.name_of(text)
        if (card := self.fileless(text)) is not None:
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

    def fileless(self, text: str) -> Card | None:
        """The card of a name that needs no file. Not blocking. Raises BadRequest, InvalidName."""
        return self._extra.get(self._store.name_of(text).key)

    def among(self, text: str, cards: Iterable[Card]) -> Card | None:
        """Which of ``cards`` a client means, whatever has become of its files. Raises BadRequest,
        InvalidName."""
        name = self._store.name_of(text)
        meant = catalogue.default_tag(name) if name.tag.lower() == DEFAULT_TAG else None
        wanted = [one.key for one in (name, meant) if one is not None]
        return min(
            (card for card in cards if card.name.key in wanted),
            key=lambda card: wanted.index(card.name.key),
            default=None,
        )

    def cards(self) -> list[Card]:
        """Every model that can be asked, newest first; extra ones hide stored ones of their name."""
        stored = [card for card in self._store.cards() if card.name.key not in self._extra]
        return sorted((*self._extra.values(), *stored), key=lambda card: -card.modified_at)

    @property
    def changes(self) -> int:
        """Another number once this process has changed the store. Not blocking."""
        return self._store.changes


class Looks:
    """A catalogue as the event loop may ask it. It is read in threads of its own: neither does a slow disk
    hold up all answers, nor do long jobs hold up a look."""

    def __init__(self, known: Catalog) -> None:
        self._known = known
        self._pool = ThreadPoolExecutor(_LOOKS, thread_name_prefix="look")

    async def resolve(self, text: str) -> Card:
        """See ``Catalog.resolve``."""
        if (card := self._known.fileless(text)) is not None:
            return card
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._known.resolve, text)

    async def cards(self) -> list[Card]:
        """See ``Catalog.cards``."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._known.cards)

    @property
    def changes(self) -> int:
        """See ``Catalog.changes``."""
        return self._known.changes


def _refuse(request: Request, what: str, hint: str, param: str | None) -> Unsupported:
    return Unsupported(f'"{request.model}" does not support {what}', hint=hint, param=param)


def check(request: Request, card: Card) -> None:
    """Refuse what this model cannot do, in Ollama's words. Raises Unsupported.

    Tools are never refused: they are made to work on any chat model. Neither are embeddings.
    """
    can = card.capabilities
    if isinstance(request, Render):
        check(request.chat, card)
    elif isinstance(request, Rerank):
        if not can & {"rerank", "embedding"}:
            hint = "Choose a reranking or an embedding model."
            raise _refuse(request, "rerank", hint, "model")
    elif isinstance(request, Chat):
        if "completion" not in can:
            raise _refuse(request, "chat", "This model makes embeddings. Choose another for chat.", "model")
        if "vision" not in can and any(_pictures(message) for message in request.messages):
            raise _refuse(request, "vision", "Leave the images out, or choose a vision model.", "messages")
        if request.think not in (None, False) and "thinking" not in can:
            raise _refuse(request, "thinking", "Leave 'think' out, or choose a thinking model.", "think")
    elif isinstance(request, Complete):
        if "completion" not in can:
            hint = "This model makes embeddings. Choose another for text."
            raise _refuse(request, "generate", hint, "model")
        if request.suffix is not None and "insert" not in can:
            raise _refuse(request, "insert", "Leave 'suffix' out, or choose a code model.", "suffix")


def _pictures(message: Message) -> bool:
    parts = [*message.parts]
    for part in message.parts:
        if isinstance(part, ToolResult):
            parts += part.images
    return any(isinstance(p, Image) or (isinstance(p, Remote) and p.kind == "image") for p in parts)


def dress(request: Request, card: Card, *, keep_alive: float = 0.0) -> Request:
    """The request with what its model brings along where the request itself says nothing. Pure.

    A chat gets the model's messages before its own, and its system message if it has none. Options of
    the load come from the model's tuning, else from its defaults (``num_ctx`` and the like); sampling
    defaults are merged where the engine's body is made. As in Ollama, but that the system message is
    always the first one: templates refuse another place.

    A prompt that is wanted again (``pin``) keeps its model at least as long; ``keep_alive`` is how long
    the server keeps one otherwise, in seconds.
    """
    stay = card.tuning.keep_alive if request.keep_alive is None else request.keep_alive
    if request.pin is not None:
        stay = max(request.pin, keep_alive if stay is None else stay)
    request = dataclasses.replace(request, load=_load(request.load, card), keep_alive=stay)
    if isinstance(request, Render):
        return dataclasses.replace(request, chat=_wished(_greeted(request.chat, card), card))
    return _wished(_greeted(request, card), card) if isinstance(request, Chat) else request


def _load(asked: LoadOptions, card: Card) -> LoadOptions:
    tuning, defaults = card.tuning, card.defaults
    use_mmap = defaults.get("use_mmap")
    own: dict[str, Any] = {
        "context_length": tuning.context_length or _whole(defaults.get("num_ctx"), 1),
        "batch": _whole(defaults.get("num_batch"), 1),
        "gpu_layers": _whole(defaults.get("num_gpu"), 0) if tuning.gpu_layers is None else tuning.gpu_layers,
        "threads": tuning.threads or _whole(defaults.get("num_thread"), 1),
        "use_mmap": use_mmap if isinstance(use_mmap, bool) else None,
    }
    return dataclasses.replace(
        asked, **{name: value for name, value in own.items() if getattr(asked, name) is None}
    )


def _whole(value: object, least: int) -> int | None:
    """A default as a number; what is below ``least`` means that the engine chooses."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= _MOST:
        return None
    return int(value)


def _greeted(chat: Chat, card: Card) -> Chat:
    """Token ids of an earlier answer (``context``) already hold the model's messages."""
    has_system = chat.messages[:1] and chat.messages[0].role == "system"
    first = chat.messages[:1] if has_system else ()
    if not has_system and card.system:
        first = (Message("system", (Text(card.system),)),)
    seeds = () if chat.context else tuple(_seed(role, text) for role, text in card.messages)
    return dataclasses.replace(chat, messages=(*first, *seeds, *chat.messages[1 if has_system else 0 :]))


def _wished(chat: Chat, card: Card) -> Chat:
    if chat.think is None and chat.think_wish is not None and "thinking" in card.capabilities:
        return dataclasses.replace(chat, think=chat.think_wish)
    return chat


def _seed(role: str, text: str) -> Message:
    return Message(_ROLES.get(role, "user"), (Text(text),))
