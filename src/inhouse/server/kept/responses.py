"""Endpoints of /v1/responses."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from ...core.errors import BadRequest, Draining, InhouseError, NotFound, Unsupported
from ...core.events import Event, Finished
from ...core.requests import Caller
from ...dialects.codec import rendering
from ...dialects.openai.lists import list_object
from ...dialects.openai.responses import (
    Order,
    check_include,
    decode_count,
    decode_create,
    render_error,
    shown_item,
)
from ...dialects.wire import dumps
from .. import answers
from ..answers import Info, Receive, Scope, Send
from ..manage import models
from ..stream import Pump, respond
from .background import Job
from .memory import Item, Memory
from .query import Query
from .turn import Turn, composed, storing

log = logging.getLogger("inhouse.server")

if TYPE_CHECKING:
    from ..manage.services import Services

MAX_PAGE = 100


class Replay:
    """Sends events that were made already."""

    media_type = "text/event-stream"
    streaming = True

    def feed(self, event: bytes) -> bytes:
        return event

    def fail(self, error: InhouseError) -> bytes:
        return b""

    def keepalive(self) -> bytes:
        return b": keep-alive\n\n"


def caller_of(scope: Scope) -> Caller:
    """Who asks, in this dialect."""
    info: Info = scope["inhouse"]
    return dataclasses.replace(info.caller, dialect="openai")


def memory_of(services: Services, caller: Caller) -> Memory:
    """What the caller has kept."""
    return Memory(services.archive, caller.tenant, services.background.live(caller.tenant))


async def answered(scope: Scope, send: Send, work: Awaitable[dict[str, Any]]) -> None:
    """Send what ``work`` gives as JSON, or its error."""

    async def written() -> bytes:
        return dumps(await work)

    await models.answered(scope, send, written(), render_error)


def _pump(services: Services, scope: Scope, send: Send, encoder: Any) -> Pump:
    settings = services.config.server
    return Pump(scope, send, encoder, silence=settings.keepalive_interval, stall=settings.stall_timeout)


async def create(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)
    caller = caller_of(scope)
    with contextlib.ExitStack() as held:
        try:
            turn, events = await _begin(services, caller, body, held)
        except InhouseError as error:
            info: Info = scope["inhouse"]
            info.outcome = error.code
            services.runtime.refuse(caller, error)
            await answers.error(scope, send, render_error(error))
            return
        if turn.order.background:
            job = services.background.start(caller.tenant, turn, events, held.pop_all())
            await _started(services, scope, receive, send, job)
            return
        pump = _pump(services, scope, send, turn.encoder)
        await respond(scope, receive, lambda: pump.run(turn.events(events), render_error))


async def _begin(
    services: Services, caller: Caller, body: bytes, held: contextlib.ExitStack
) -> tuple[Turn, AsyncGenerator[Event, None]]:
    """Read the order and all it builds on; nothing runs yet. ``held`` gets what must be given back."""
    if services.draining():
        raise Draining("The server is stopping.", hint="Try again in a moment.", retry_after=5)
    order = decode_create(body)
    if order.noted:
        log.debug("accepted without effect: %s", ", ".join(order.noted))
    store = storing(order, services.config)
    if order.background:
        held.enter_context(services.background.place())
        await services.runtime.resolve(order.chat.model)
    claimed = held.enter_context(contextlib.ExitStack())
    claimed.enter_context(services.background.claim(caller.tenant, order.conversation))
    memory = memory_of(services, caller)
    chat, items = await composed(memory, order)
    turn = Turn(memory, order, items, store=store, release=claimed.close)
    if order.background:
        await turn.keep(turn.encoder.response("queued"))
    return turn, services.runtime.run(chat, caller)


async def _started(services: Services, scope: Scope, receive: Receive, send: Send, job: Job) -> None:
    """Answer for a background response: as it is now, or the stream of its events."""
    if job.turn.order.stream:
        await _replay(services, scope, receive, send, lambda: job.follow(-1))
        return
    info: Info = scope["inhouse"]
    info.outcome = "ok"
    await answers.whole(scope, send, dumps(job.response))


async def _replay(
    services: Services,
    scope: Scope,
    receive: Receive,
    send: Send,
    events: Callable[[], AsyncGenerator[bytes, None]],
) -> None:
    pump = _pump(services, scope, send, Replay())
    await respond(scope, receive, lambda: pump.run(events(), render_error))


async def retrieve(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    ident: str = scope["params"]["id"]
    caller = caller_of(scope)
    memory = memory_of(services, caller)
    job = services.background.job(caller.tenant, ident)

    async def work() -> dict[str, Any]:
        include = check_include([*Query.of(scope).many("include")], "include")
        response = job.response if job else (await memory.response(ident)).response
        return {**response, "output": [shown_item(item, include) for item in response["output"]]}

    try:
        streamed = Query.of(scope).flag("stream")
        events = await _said(memory, job, ident, Query.of(scope)) if streamed else None
    except InhouseError as error:
        await answers.error(scope, send, render_error(error))
        return
    if events is None:
        await answered(scope, send, work())
    else:
        await _replay(services, scope, receive, send, events)


async def _said(
    memory: Memory, job: Job | None, ident: str, query: Query
) -> Callable[[], AsyncGenerator[bytes, None]]:
    """The events of a background response after ``starting_after``."""
    after = query.whole("starting_after", 0, 10**9)
    after = -1 if after is None else after
    if job is not None and job.turn.order.stream:
        return lambda: job.follow(after)
    if job is None:
        await memory.response(ident)
    said = None if job else await memory.said(ident)
    if said is None:
        raise BadRequest(
            "This response has no stream.",
            hint="Only a response that was made with 'background': true and 'stream': true can be resumed.",
            param="stream",
        )

    async def replayed() -> AsyncGenerator[bytes, None]:
        for event in said[after + 1 :]:
            yield event.encode()

    return replayed


async def delete(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    ident: str = scope["params"]["id"]
    caller = caller_of(scope)

    async def work() -> dict[str, Any]:
        job = services.background.job(caller.tenant, ident)
        if job is not None:
            await job.cancel()
        if not await memory_of(services, caller).forget(ident):
            raise NotFound(f"Response with id '{ident[:80]}' not found.")
        return {"id": ident, "object": "response", "deleted": True}

    await answered(scope, send, work())


async def cancel(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    ident: str = scope["params"]["id"]
    caller = caller_of(scope)

    async def work() -> dict[str, Any]:
        job = services.background.job(caller.tenant, ident)
        if job is not None:
            return await job.cancel()
        response = (await memory_of(services, caller).response(ident)).response
        if not response["background"]:
            raise BadRequest(
                "Cannot cancel a synchronous response.",
                hint="Only a response that was made with 'background': true can be cancelled.",
            )
        return response

    await answered(scope, send, work())


async def input_items(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    async def work() -> dict[str, Any]:
        query = Query.of(scope)
        include = check_include([*query.many("include")], "include")
        memory = memory_of(services, caller_of(scope))
        items = await memory.used_by(await memory.response(scope["params"]["id"]))
        page, more = _page(items, query)
        return list_object([shown_item(item, include) for item in page], more)

    await answered(scope, send, work())


def _page(items: list[Item], query: Query) -> tuple[list[Item], bool]:
    """Part of a list as the query asks, the newest first by default. Raises BadRequest."""
    limit = query.whole("limit", 1, MAX_PAGE) or 20
    ordered = items if query.choice("order", "asc", "desc") == "asc" else items[::-1]
    after, start = query.text("after"), 0
    if after is not None:
        places = [i for i, item in enumerate(ordered) if item["id"] == after]
        if not places:
            raise BadRequest(
                "Invalid value for 'after': no item with this id.",
                hint="Use the id of the last item of the page before.",
                param="after",
            )
        start = places[-1] + 1
    return ordered[start : start + limit], len(ordered) > start + limit


async def input_tokens(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    body = await answers.body(scope, receive, services.config.server.max_body)
    caller = caller_of(scope)

    async def work() -> dict[str, Any]:
        order: Order = decode_count(body)
        chat, _ = await composed(memory_of(services, caller), order)
        async with aclosing(services.runtime.run(rendering(chat), caller)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    tokens = event.usage.prompt_tokens
        return {"object": "response.input_tokens", "input_tokens": tokens}

    await answered(scope, send, work())


async def compact(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    await answers.body(scope, receive, services.config.server.max_body)

    async def work() -> dict[str, Any]:
        raise Unsupported(
            "Conversations are not compacted here.",
            hint="Send 'truncation': 'auto' with a response, or ask the model for a summary.",
        )

    await answered(scope, send, work())
