"""Models on disk: list, show, pull, copy, delete."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote_to_bytes

from ...core.errors import InhouseError, InvalidName, ModelNotFound, StoreError
from ...core.models import ModelName
from ...dialects import anthropic, ollama, openai
from ...dialects.codec import ErrorAnswer
from ...store import modelfile
from .. import answers
from ..answers import Info, Receive, Scope, Send

if TYPE_CHECKING:
    from .services import Services

_COPILOT = "GitHubCopilotChat/"  # shows the base name of the weights where users know the model's name


async def answered(
    scope: Scope, send: Send, work: Awaitable[bytes], render: Callable[[InhouseError], ErrorAnswer]
) -> None:
    """Send what ``work`` gives, or its error in the dialect's shape."""
    info: Info = scope["inhouse"]
    try:
        data = await work
    except InhouseError as error:
        info.outcome = error.code
        await answers.error(scope, send, render(error))
        return
    info.outcome = "ok"
    await answers.whole(scope, send, data)


def _to_anthropic(scope: Scope) -> bool:
    """Anthropic's clients name the version of their API; OpenAI's ask the same paths without."""
    return answers.header(scope, b"anthropic-version") is not None


async def listed(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """GET /v1/models, in the shape of the API that the client speaks."""
    speaks = _to_anthropic(scope)

    async def work() -> bytes:
        cards = await asyncio.to_thread(services.catalog.cards)
        if not speaks:
            return openai.render_models(cards)
        return anthropic.render_models(cards, parse_qs(scope["query_string"].decode("latin-1")))

    await answered(scope, send, work(), anthropic.render_error if speaks else openai.render_error)


async def one(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """GET /v1/models/{model}, likewise."""
    speaks = _to_anthropic(scope)
    asked = unquote_to_bytes(scope["raw_path"])[len("/v1/models/") :].decode("utf-8", "replace")

    async def work() -> bytes:
        try:
            card = await asyncio.to_thread(services.catalog.resolve, asked)
        except InvalidName as error:
            raise ModelNotFound(asked[:80].encode("ascii", "backslashreplace").decode()) from error
        return anthropic.render_model(card) if speaks else openai.render_model(card)

    await answered(scope, send, work(), anthropic.render_error if speaks else openai.render_error)


async def tags(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    async def work() -> bytes:
        cards = await asyncio.to_thread(services.catalog.cards)
        return ollama.render_tags(cards, paths=services.trusts(scope))

    await answered(scope, send, work(), ollama.render_error)


async def show(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)

    async def work() -> bytes:
        asked = ollama.decode_show(body)
        if (answers.header(scope, b"user-agent") or "").startswith(_COPILOT):
            asked = replace(asked, called=asked.model)
        return await asyncio.to_thread(_shown, services, asked, services.trusts(scope))

    await answered(scope, send, work(), ollama.render_error)


def _shown(services: Services, asked: ollama.ShowOrder, paths: bool) -> bytes:
    card = services.catalog.resolve(asked.model)
    if asked.verbose:
        card = replace(card, metadata=services.store.metadata(card))
    if asked.called:
        card = replace(card, metadata={**card.metadata, "general.basename": asked.called})
    if asked.system:
        card = replace(card, system=asked.system)
    if asked.options:
        card = replace(card, defaults={**card.defaults, **asked.options})
    return ollama.render_show(
        card,
        verbose=asked.verbose,
        modelfile=modelfile.render(card),
        parameters=modelfile.parameters(card),
        tensors=services.store.tensors(card),
        paths=paths,
    )


async def copy(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)

    async def work() -> bytes:
        source, destination = ollama.decode_copy(body)
        card = await asyncio.to_thread(services.catalog.resolve, source)
        await asyncio.to_thread(services.store.copy, card.name, ModelName.parse(destination))
        return b""

    await answered(scope, send, work(), partial(ollama.render_error, route="copy"))


def _doomed(services: Services, asked: str) -> tuple[ModelName, bool]:
    """The name to delete, and whether it only follows another. What is broken can be deleted, too."""
    named, follows = services.store.name_of(asked), False
    try:
        follows = services.store.is_alias(named)
        name = services.catalog.resolve(asked).name
    except StoreError:
        name = named
    return (named, True) if follows else (name, False)


async def delete(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)

    async def work() -> bytes:
        asked = ollama.decode_name(body)
        name, follows = await asyncio.to_thread(_doomed, services, asked)
        if not follows:
            with contextlib.suppress(StoreError, ModelNotFound):  # broken, and not loaded
                await services.runtime.unload(asked)
        await asyncio.to_thread(services.store.remove, name)
        return b""

    await answered(scope, send, work(), ollama.render_error)
