"""A server of OpenAI's wire as an Engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from ...core.engine import Launch
from ...core.errors import Unsupported
from ...core.events import ChoiceEnd, Event, Finished, Started
from ...core.models import Card
from ...core.requests import Chat, Complete, Detokenize, Embed, Load, Render, Request, Tokenize
from ...core.usage import Timings, Usage
from ...dialects.openai.client import Service
from . import embed, generate, tokens
from .link import OpenAILink
from .settle import check


class OpenAIEngine:
    """Runs requests on a server of OpenAI's wire. Not bound to a loop until used.

    ``launch`` says where it is, what it calls the model (``served_as``) and what it understands
    (``takes``).
    """

    def __init__(self, card: Card, launch: Launch) -> None:
        self.card = card
        self.launch = launch
        self._link = OpenAILink(launch)
        self._service = Service(launch.served_as or str(card.name), launch.takes)

    def run(self, request: Request) -> AsyncGenerator[Event, None]:
        """Stream the events of one request; closing the generator closes the connection, which ends it.

        Raises Unsupported, naming the field, for what the server does not take, BadRequest and below for
        what the caller can mend, Busy where it is overloaded, WorkerDied when the connection breaks,
        EngineError for everything else that goes wrong in it.
        """
        check(request)
        link, card, service = self._link, request.target or self.card, self._service
        match request:
            case Chat() | Complete():
                return generate.run(link, card, service, request)
            case Embed():
                return embed.run(link, card, service, request)
            case Tokenize():
                return tokens.tokenize(link, service, request)
            case Detokenize():
                return tokens.detokenize(link, service, request)
            case Render():
                return tokens.render(link, card, service, request)
        if isinstance(request, Load):
            return _loaded()
        raise Unsupported(
            "The engine that runs this model cannot rank texts.",
            hint="Run the model as GGUF with llama.cpp.",
            param="model",
        )

    async def healthy(self, timeout: float) -> bool:
        """Whether the server is ready and answers within ``timeout`` seconds."""
        return await self._link.healthy(timeout)

    async def close(self) -> None:
        """Give back connections; running requests end with WorkerDied. Idempotent."""
        await self._link.close()


async def _loaded() -> AsyncGenerator[Event, None]:
    yield Started()
    yield ChoiceEnd("load")
    yield Finished(Usage(), Timings())
