"""One response from the order to what is kept of it, in the foreground or not."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from ...config import Config
from ...core.errors import BadRequest, InhouseError, StoreError
from ...core.events import Event, Finished
from ...core.requests import Chat
from ...dialects.openai.responses import Head, Order, ResponseEncoder, Style, renewed
from .memory import Item, Memory, Stored

log = logging.getLogger("inhouse.server")


def storing(order: Order, config: Config) -> bool:
    """Whether the response is to be kept. Raises BadRequest where that is asked for and switched off."""
    if config.keep.enabled:
        return order.store is not False
    for name, asked in (("store", order.store), ("background", order.background)):
        if asked:
            raise BadRequest(
                f"'{name}' needs an archive, and this server keeps nothing.",
                hint="Leave it out, or let the server keep things: keep.enabled (INHOUSE_KEEP).",
                param=name,
            )
    return False


async def composed(memory: Memory, order: Order) -> tuple[Chat, list[Item]]:
    """The chat with all that came before, and the new items with their references resolved.

    Raises BadRequest and NotFound.
    """
    where, earlier = "input", []
    if order.previous is not None:
        where, earlier = "previous_response_id", await memory.before(order.previous)
    elif order.conversation is not None:
        await memory.conversation(order.conversation, "conversation")
        where, earlier = "conversation", await memory.conversation_items(order.conversation)
    fresh = await memory.resolved(order.items, earlier)
    if order.conversation is not None:
        fresh = renewed(fresh)
    files = await memory.files([*earlier, *fresh])
    placed = [(f"{where}[{i}]", item) for i, item in enumerate(earlier)]
    placed += [(f"input[{i}]", item) for i, item in enumerate(fresh)]
    return order.compose(placed, files), fresh


class Turn:
    """``events`` wraps the runtime's: what comes out ends only when the response is kept. ``release`` gives
    the conversation back, before the client can know that the response has ended; it may be called twice."""

    def __init__(
        self,
        memory: Memory,
        order: Order,
        items: list[Item],
        *,
        store: bool,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self.order = order
        self.since = time.time()
        head = Head(order.echo, store)
        style = Style(
            streaming=order.stream,
            queued=order.background,
            summary=order.summary,
            sealed=order.sealed,
            obfuscate=order.obfuscate,
        )
        self.encoder = ResponseEncoder(head, order.offers, style)
        self._memory = memory
        self._items = items
        self._store = store
        self._release = release

    @property
    def id(self) -> str:
        return self.encoder.head.id

    async def keep(self, response: dict[str, Any], said: tuple[str, ...] = ()) -> None:
        """Keep the response as it is now, if it is to be kept."""
        if self._store:
            await self._memory.keep(self._stored(response), said)

    def _stored(self, response: dict[str, Any]) -> Stored:
        return Stored(response, self._items, self.order.previous, self.order.conversation, self.since)

    async def events(self, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        """Pass events on. The response is kept before the last one goes out; a failed one too, once the
        client has seen its id."""
        async with aclosing(events):
            for notice in self.order.notices:
                yield notice
            try:
                async for event in events:
                    if isinstance(event, Finished):
                        await self._done(self.encoder.settle(event))
                        self._release()
                    yield event
            except InhouseError as error:
                seen = self.encoder.begun and self.order.stream and not self.order.background
                if seen and not isinstance(error, StoreError):
                    await self._lost(error)
                raise
            finally:
                self._release()

    async def _lost(self, error: InhouseError) -> None:
        """Keep the failure; that it cannot be kept is only logged."""
        try:
            await self.keep(self.encoder.failed(error))
        except InhouseError as other:
            log.warning("a failed response was not kept: %s", other.message)

    async def _done(self, response: dict[str, Any]) -> None:
        conversation = self.order.conversation
        items = [] if conversation is None else [*self._items, *response["output"]]
        if self._store:
            appended = self._memory.placed(conversation or "", items)
            await self._memory.keep(self._stored(response), appended=appended)
        elif conversation is not None:
            await self._memory.append(conversation, items)
