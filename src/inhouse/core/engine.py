"""The one interface between those who ask and those who compute."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol

from .events import Event
from .requests import Request


class Engine(Protocol):
    """Runs requests. Closing the generator is the cancel: it frees the slot within 2 s."""

    def run(self, request: Request) -> AsyncGenerator[Event, None]:
        """Stream the events of one request. Raises errors of the ``InhouseError`` tree."""
        ...

    async def close(self) -> None:
        """Give back connections. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start one worker process; pure data made by an engine's recipe.

    ``address`` is a Unix socket path, or ``127.0.0.1:port`` where there are none; ``secret`` is the
    bearer key of a TCP worker. ``command`` and ``env`` are whole: nothing else is inherited.
    ``stdin`` is written to the child, whose standard input then stays open: its end means that the
    parent is gone. ``slots`` requests run at once, each with ``context_length`` tokens;
    ``memory`` is the expected resident size in bytes. ``grammars``: notations that the engine enforces
    while decoding (gbnf, and lark where llguidance is built in, which then also takes schemas).
    """

    engine: str
    command: tuple[str, ...]
    address: str
    env: dict[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    secret: str = ""
    slots: int = 1
    context_length: int = 0
    memory: int = 0
    ready_timeout: float = 300.0
    build: str = ""
    grammars: frozenset[str] = frozenset({"gbnf"})
