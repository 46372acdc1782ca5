"""What every dialect gives the server: a decoded request and an encoder for its events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..core.errors import InhouseError
from ..core.events import Event
from ..core.requests import Chat, Render, Request


class Encoder(Protocol):
    """Turns events into bytes of one answer, streamed or whole.

    A streaming encoder returns bytes for events as they come; a whole one returns ``b""`` until
    ``Finished`` and then the entire body. Both are folds of the same events.
    """

    media_type: str
    streaming: bool

    def feed(self, event: Event) -> bytes:
        """Bytes to send for this event, maybe none."""
        ...

    def fail(self, error: InhouseError) -> bytes:
        """Close what is open and report a failure after the stream began. Never a fake stop."""
        ...

    def keepalive(self) -> bytes:
        """Bytes a client skips, for silent times; ``b""`` where the dialect has none."""
        ...


@dataclass(frozen=True, slots=True)
class Decoded:
    """``noted``: dotted names of fields that were accepted and have no effect here, for the log."""

    request: Request
    encoder: Encoder
    noted: tuple[str, ...] = ()


def rendering(chat: Chat, *, pieces: bool = False) -> Render:
    """A chat's prompt instead of its answer, under all that the chat says of its model and its turn."""
    return Render(
        model=chat.model,
        load=chat.load,
        keep_alive=chat.keep_alive,
        priority=chat.priority,
        adapters=chat.adapters,
        chat=chat,
        pieces=pieces,
    )


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error before the first byte: status, JSON body and further headers."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
