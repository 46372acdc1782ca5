"""Chat completions that are kept: written while they are answered, and told again later."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from ...archive import Kept, Page
from ...core.errors import InhouseError, NotFound, Unsupported
from ...core.events import Event, Notice
from ...core.json import parse
from ...core.requests import Caller, Chat
from ...dialects.codec import Decoded
from ...dialects.openai import StoredChat
from ...dialects.openai.lists import read_query, render_list
from ...dialects.openai.stored import KIND, MESSAGE_KIND, decode_update, render_completion, render_deleted
from .. import answers
from ..answers import Receive, Scope, Send
from .files import attended, names_files, tenant_of, with_files

if TYPE_CHECKING:
    from ..manage.services import Services

log = logging.getLogger("inhouse.server")


def run_chat(services: Services, decoded: Decoded, caller: Caller) -> AsyncGenerator[Event, None]:
    """The events of a chat. Where it names uploaded files they are put in first; where it is to be kept
    it is, before the last event goes out. Any other chat is the runtime's own stream."""
    request = decoded.request
    plain = not isinstance(request, Chat) or not (isinstance(decoded, StoredChat) or names_files(request))
    if plain:
        return services.runtime.run(request, caller)
    return _attended(services, decoded, caller)


async def _attended(services: Services, decoded: Decoded, caller: Caller) -> AsyncGenerator[Event, None]:
    try:
        request = await _completed(services, decoded, caller.tenant)
    except InhouseError as error:
        services.runtime.refuse(caller, error)
        raise
    stored = decoded if isinstance(decoded, StoredChat) else None
    async with aclosing(services.runtime.run(request, caller)) as events:
        async for event in events:
            if stored is not None and stored.whole.feed(event):
                try:
                    await services.archive.put(*_kept(stored, caller))
                except InhouseError as error:
                    log.warning("a completion was not kept: %s", error.message)
                    yield Notice("not_stored", f"The completion was not kept: {error.message}")
            yield event


async def _completed(services: Services, decoded: Decoded, tenant: str) -> Any:
    request = decoded.request
    if isinstance(decoded, StoredChat) and not services.config.keep.enabled:
        raise Unsupported(
            "'store' is not supported here: this server keeps nothing.",
            hint="Leave it out, or let the server keep things: keep.enabled (INHOUSE_KEEP).",
            param="store",
        )
    if isinstance(request, Chat) and names_files(request):
        return await with_files(request, services.archive, tenant)
    return request


def _kept(stored: StoredChat, caller: Caller) -> list[Kept]:
    """A completion and the messages of its request."""
    now = time.time()
    completion = {**stored.whole.body(), **stored.told, "request_id": caller.request_id}
    ident = completion["id"]
    messages = [
        Kept(MESSAGE_KIND, f"{ident}-{i}", caller.tenant, now, {"id": f"{ident}-{i}", **message}, ident)
        for i, message in enumerate(stored.messages)
    ]
    return [Kept(KIND, ident, caller.tenant, now, completion), *messages]


async def _found(services: Services, scope: Scope) -> Kept:
    ident = scope["params"]["id"]
    kept = await services.archive.get(KIND, ident, tenant_of(scope))
    if kept is None:
        raise _none(ident)
    return kept


def _none(ident: str) -> NotFound:
    shown = ident[:80].encode("ascii", "backslashreplace").decode()
    hint = "Only what was made with 'store': true is kept, and not for ever."
    return NotFound(f"Chat completion {shown} not found", hint=hint, param="completion_id")


async def listed(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """GET /v1/chat/completions."""

    async def work() -> bytes:
        asked = read_query(scope["query_string"], ascending=True)
        match: dict[str, Any] = {"metadata": asked.metadata} if asked.metadata else {}
        if "model" in asked.fields:
            match["model"] = asked.fields["model"]
        page = Page(
            after=asked.after,
            before=asked.before,
            limit=asked.limit,
            ascending=asked.ascending,
            match=match,
        )
        found, more = await services.archive.page(KIND, tenant_of(scope), page)
        return render_list([kept.body for kept in found], more)

    await attended(services, scope, send, work)


async def one(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """GET /v1/chat/completions/{id}."""

    async def work() -> bytes:
        return render_completion((await _found(services, scope)).body)

    await attended(services, scope, send, work)


async def update(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """POST /v1/chat/completions/{id}: new metadata."""
    body = await answers.body(scope, receive, services.config.server.max_body)

    async def work() -> bytes:
        metadata = decode_update(parse(body))
        kept = await _found(services, scope)
        kept = dataclasses.replace(kept, body={**kept.body, "metadata": metadata})
        if not await services.archive.replace(kept):
            raise _none(kept.id)
        return render_completion(kept.body)

    await attended(services, scope, send, work)


async def delete(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """DELETE /v1/chat/completions/{id}."""

    async def work() -> bytes:
        ident = scope["params"]["id"]
        if not await services.archive.delete(KIND, ident, tenant_of(scope), children=True):
            raise _none(ident)
        return render_deleted(ident, "chat.completion.deleted")

    await attended(services, scope, send, work)


async def messages(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """GET /v1/chat/completions/{id}/messages."""

    async def work() -> bytes:
        asked = read_query(scope["query_string"], ascending=True)
        kept = await _found(services, scope)
        page = Page(
            parent=kept.id,
            after=asked.after,
            before=asked.before,
            limit=asked.limit,
            ascending=asked.ascending,
        )
        found, more = await services.archive.page(MESSAGE_KIND, kept.tenant, page)
        return render_list([one.body for one in found], more)

    await attended(services, scope, send, work)


__all__ = ["delete", "listed", "messages", "one", "run_chat", "update"]
