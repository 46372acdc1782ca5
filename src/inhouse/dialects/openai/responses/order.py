"""What POST /v1/responses asked: the chat without its messages, and all that the server does around it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ....core.events import Notice
from ....core.requests import Chat
from .content import Bag, Files
from .items import Placed, messages_of
from .names import fresh
from .tools import Offer


@dataclass(frozen=True, slots=True)
class Order:
    """``items`` are the new ones, as they are kept; ``echo`` the fields that the answer repeats.

    ``store`` None is the server's default. ``summary``: reasoning is shown as the summary. ``sealed``:
    reasoning items carry ``encrypted_content``. ``obfuscate``: deltas are padded. ``noted``: see ``Decoded``.
    """

    chat: Chat
    items: tuple[dict[str, Any], ...]
    echo: Mapping[str, Any]
    instructions: str | None = None
    stream: bool = False
    store: bool | None = None
    background: bool = False
    previous: str | None = None
    conversation: str | None = None
    summary: bool = False
    sealed: bool = False
    obfuscate: bool = False
    offers: Mapping[str, Offer] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    noted: tuple[str, ...] = ()

    def compose(self, items: Iterable[Placed], files: Files) -> Chat:
        """The chat of these items, which end with the new ones. Raises BadRequest."""
        bag = Bag(files, self.chat.pin)
        messages = messages_of(self.instructions, items, bag)
        return dataclasses.replace(self.chat, messages=messages, pin=bag.pin)


@dataclass(frozen=True, slots=True)
class Head:
    """What stays the same in all forms of one response object."""

    echo: Mapping[str, Any]
    store: bool
    id: str = field(default_factory=lambda: fresh("resp"))
    created: int = field(default_factory=lambda: int(time.time()))

    def response(self, status: str, output: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """The response object: ``more`` are error, incomplete_details, usage, completed_at, warnings."""
        own = {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "completed_at": None,
            "incomplete_details": None,
            "output": output,
            "store": self.store,
            "usage": None,
        }
        return {**own, **self.echo, **more}
