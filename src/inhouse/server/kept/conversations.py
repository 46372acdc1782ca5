"""Endpoints of /v1/conversations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...archive import Kept, Page
from ...core.errors import NotFound, Unsupported
from ...dialects.openai.lists import list_object
from ...dialects.openai.responses import (
    check_include,
    conversation_object,
    decode_conversation,
    decode_conversation_update,
    decode_items,
    fresh,
    renewed,
    shown_item,
)
from .. import answers
from ..answers import Receive, Scope, Send
from .query import Query
from .responses import MAX_PAGE, answered, caller_of, memory_of

if TYPE_CHECKING:
    from ..manage.services import Services


def _shown(kept: Kept) -> dict[str, Any]:
    return conversation_object(kept.id, kept.created, kept.body["metadata"])


async def create(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)

    async def work() -> dict[str, Any]:
        metadata, items = decode_conversation(body)
        if not services.config.keep.enabled:
            raise Unsupported(
                "This server keeps no conversations.",
                hint="Let it keep things: keep.enabled (INHOUSE_KEEP), or send all items with each response.",
            )
        memory = memory_of(services, caller_of(scope))
        items = renewed(await memory.resolved(items))
        return _shown(await memory.start_conversation(fresh("conv"), metadata, items))

    await answered(scope, send, work())


async def retrieve(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    async def work() -> dict[str, Any]:
        memory = memory_of(services, caller_of(scope))
        return _shown(await memory.conversation(scope["params"]["id"]))

    await answered(scope, send, work())


async def update(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)

    async def work() -> dict[str, Any]:
        metadata = decode_conversation_update(body)
        memory = memory_of(services, caller_of(scope))
        return _shown(await memory.describe_conversation(scope["params"]["id"], metadata))

    await answered(scope, send, work())


async def delete(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    ident: str = scope["params"]["id"]

    async def work() -> dict[str, Any]:
        caller = caller_of(scope)
        with services.background.claim(caller.tenant, ident):
            if not await memory_of(services, caller).forget_conversation(ident):
                raise NotFound(f"Conversation with id '{ident[:80]}' not found.")
        return {"id": ident, "object": "conversation.deleted", "deleted": True}

    await answered(scope, send, work())


async def add_items(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)

    async def work() -> dict[str, Any]:
        caller = caller_of(scope)
        memory = memory_of(services, caller)
        include = check_include([*Query.of(scope).many("include")], "include")
        items = decode_items(body)
        kept = await memory.conversation(scope["params"]["id"])
        with services.background.claim(caller.tenant, kept.id):
            items = renewed(await memory.resolved(items))
            await memory.append(kept.id, items)
        return list_object([shown_item(item, include) for item in items], False)

    await answered(scope, send, work())


async def list_items(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    async def work() -> dict[str, Any]:
        query = Query.of(scope)
        include = check_include([*query.many("include")], "include")
        memory = memory_of(services, caller_of(scope))
        kept = await memory.conversation(scope["params"]["id"])
        page = Page(
            parent=kept.id,
            after=query.text("after"),
            limit=query.whole("limit", 1, MAX_PAGE) or 20,
            ascending=query.choice("order", "asc", "desc") == "asc",
        )
        items, more = await memory.conversation_page(page)
        return list_object([shown_item(item, include) for item in items], more)

    await answered(scope, send, work())


async def retrieve_item(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    async def work() -> dict[str, Any]:
        include = check_include([*Query.of(scope).many("include")], "include")
        memory = memory_of(services, caller_of(scope))
        params = scope["params"]
        return shown_item(await memory.conversation_item(params["id"], params["item"]), include)

    await answered(scope, send, work())


async def delete_item(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    async def work() -> dict[str, Any]:
        caller, params = caller_of(scope), scope["params"]
        memory = memory_of(services, caller)
        kept = await memory.conversation(params["id"])
        with services.background.claim(caller.tenant, kept.id):
            await memory.conversation_item(kept.id, params["item"])
            await memory.forget_item(params["item"])
        return _shown(kept)

    await answered(scope, send, work())
