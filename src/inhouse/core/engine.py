"""The one interface between those who ask and those who compute."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Literal, Protocol

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

    ``wire`` is the protocol that the worker speaks, ``served_as`` the model's name in it where there is
    one. ``variant``: which build of the engine (wheel, native, cuda ...). ``device_memory``: bytes of
    ``memory`` that lie on GPUs. ``speculative``: how tokens are guessed, "" not at all. ``adapters``:
    digests of the LoRA adapters that are at hand, in the engine's order. ``prefixes``: the folder that
    holds saved prompts, "" where none are kept. ``notices``: what a person should know of this choice,
    e.g. why a better build was not taken. ``takes``: which optional parts of OpenAI's wire the worker's
    server understands (``core.features``); ``ready_path`` answers 200 once it can be asked.
    ``growth``: bytes of ``memory`` that it does not have after its load but may take later (a cache).
    ``kernels``: the file in which the worker tells of our own kernels (``core.kernels``), "" where it runs
    without; who ends the worker removes it.
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
    wire: Literal["llamaserver", "openai"] = "llamaserver"
    served_as: str = ""
    variant: str = ""
    device_memory: int = 0
    speculative: str = ""
    adapters: tuple[str, ...] = ()
    prefixes: str = ""
    notices: tuple[str, ...] = ()
    takes: frozenset[str] = frozenset()
    ready_path: str = "/health"
    growth: int = 0
    kernels: str = ""
