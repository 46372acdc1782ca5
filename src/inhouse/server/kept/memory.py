"""The Responses API's view of the archive: one tenant's responses, conversations and their items.

Kinds: ``response`` (body: response, input, previous, conversation), ``item`` (where an output item is;
its parent is the response), ``events`` (what a background response said; id and parent are its own),
``conversation`` (metadata) and ``conversation_item`` (the item; its parent is the conversation).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Sequence
from typing import Any

from ...archive import Archive, Kept, Page
from ...core.errors import BadRequest, BodyTooLarge, NotFound
from ...dialects.openai.files import Allowance
from ...dialects.openai.responses import REFERENCE, named_files

MAX_FILE = 20 * 2**20
_PAGE = 1000
_RUNNING = ("queued", "in_progress")
Item = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """A kept response; ``since`` is when it was asked for."""

    response: dict[str, Any]
    input: list[Item]
    previous: str | None
    conversation: str | None
    since: float

    @property
    def id(self) -> str:
        return str(self.response["id"])

    @property
    def running(self) -> bool:
        return self.response["status"] in _RUNNING


class Memory:
    """What one tenant has kept. ``live``: the ids of background responses that run in this process; one
    that is kept as running and is not among them was cut off by the end of an earlier process."""

    def __init__(self, archive: Archive, tenant: str, live: Iterable[str] = ()) -> None:
        self._archive = archive
        self._tenant = tenant
        self._live = frozenset(live)

    async def response(self, ident: str) -> Stored:
        """Raises NotFound."""
        stored = await self._response(ident)
        if stored is None:
            raise NotFound(f"Response with id '{ident[:80]}' not found.")
        return stored

    async def _response(self, ident: str) -> Stored | None:
        kept = await self._archive.get("response", ident, self._tenant)
        if kept is None:
            return None
        body = kept.body
        stored = Stored(body["response"], body["input"], body["previous"], body["conversation"], kept.created)
        if stored.running and ident not in self._live:
            stored.response["status"] = "failed"
            stored.response["error"] = {
                "code": "server_error",
                "message": "The server stopped while it worked on this response.",
            }
        return stored

    async def keep(self, stored: Stored, said: Sequence[str] = (), appended: Sequence[Kept] = ()) -> None:
        """Keep a response, the places of its output items, what it said while it ran, and what it adds to
        a conversation: all or none."""
        body = {
            "response": stored.response,
            "input": stored.input,
            "previous": stored.previous,
            "conversation": stored.conversation,
        }
        own = Kept("response", stored.id, self._tenant, stored.since, body)
        items = [self._part(stored, "item", item["id"], {}) for item in stored.response["output"]]
        if said:
            items.append(self._part(stored, "events", stored.id, {"events": list(said)}))
        await self._archive.put(own, *items, *appended)

    def _part(self, stored: Stored, kind: str, ident: str, body: dict[str, Any]) -> Kept:
        return Kept(kind, ident, self._tenant, stored.since, body, parent=stored.id)

    async def said(self, ident: str) -> list[str] | None:
        """The events of a background response that was streamed."""
        kept = await self._archive.get("events", ident, self._tenant)
        return None if kept is None else list(kept.body["events"])

    async def forget(self, ident: str) -> bool:
        """Delete a response with all that belongs to it."""
        return await self._archive.delete("response", ident, self._tenant, children=True)

    async def before(self, ident: str) -> list[Item]:
        """The items that a response which continues ``ident`` starts from. Raises BadRequest."""
        stored = await self._response(ident)
        if stored is None:
            raise _no_previous(ident)
        if stored.running:
            raise BadRequest(
                f"Previous response with id '{ident[:80]}' is still running.",
                hint="Wait until it is completed.",
                param="previous_response_id",
            )
        return [*await self.used_by(stored), *stored.response["output"]]

    async def used_by(self, stored: Stored) -> list[Item]:
        """All items that a response was made from, the oldest first."""
        parts = [stored.input]
        while stored.previous is not None:
            older = await self._response(stored.previous)
            if older is None:
                raise _no_previous(stored.previous)
            parts += [older.response["output"], older.input]
            stored = older
        if stored.conversation is not None:
            found = await self._conversation_items(stored.conversation)
            parts.append([kept.body for kept in found if kept.created <= stored.since])
        return [item for part in reversed(parts) for item in part]

    async def conversation(self, ident: str, param: str | None = None) -> Kept:
        """Raises NotFound."""
        kept = await self._archive.get("conversation", ident, self._tenant)
        if kept is None:
            raise _no_conversation(ident, param)
        return kept

    async def start_conversation(
        self, ident: str, metadata: dict[str, str], items: Sequence[Item] = ()
    ) -> Kept:
        """Keep a conversation and its first items."""
        kept = Kept("conversation", ident, self._tenant, time.time(), {"metadata": metadata})
        await self._archive.put(kept, *self.placed(ident, items))
        return kept

    async def describe_conversation(self, ident: str, metadata: dict[str, str]) -> Kept:
        """Give a conversation other metadata. Raises NotFound."""
        kept = dataclasses.replace(await self.conversation(ident), body={"metadata": metadata})
        if not await self._archive.replace(kept):
            raise _no_conversation(ident)
        return kept

    async def forget_conversation(self, ident: str) -> bool:
        """Delete a conversation with its items."""
        return await self._archive.delete("conversation", ident, self._tenant, children=True)

    def placed(self, conversation: str, items: Sequence[Item]) -> list[Kept]:
        """Items as they are kept at the end of a conversation."""
        now = time.time()
        kind = "conversation_item"
        return [Kept(kind, item["id"], self._tenant, now, item, parent=conversation) for item in items]

    async def append(self, conversation: str, items: Sequence[Item]) -> None:
        """Put items at the end of a conversation."""
        await self._archive.put(*self.placed(conversation, items))

    async def _conversation_items(self, conversation: str) -> list[Kept]:
        found: list[Kept] = []
        more = True
        while more:
            after = found[-1].id if found else None
            page = Page(parent=conversation, after=after, limit=_PAGE, ascending=True)
            part, more = await self._archive.page("conversation_item", self._tenant, page)
            found += part
        return found

    async def conversation_items(self, conversation: str) -> list[Item]:
        """All of it, the oldest first."""
        return [kept.body for kept in await self._conversation_items(conversation)]

    async def conversation_page(self, asked: Page) -> tuple[list[Item], bool]:
        """Part of a conversation, and whether there is more. Raises BadRequest."""
        found, more = await self._archive.page("conversation_item", self._tenant, asked)
        return [kept.body for kept in found], more

    async def conversation_item(self, conversation: str, ident: str) -> Item:
        """Raises NotFound."""
        kept = await self._archive.get("conversation_item", ident, self._tenant)
        if kept is None or kept.parent != conversation:
            raise NotFound(f"Item with id '{ident[:80]}' not found.")
        return kept.body

    async def forget_item(self, ident: str) -> None:
        """Delete an item of a conversation."""
        await self._archive.delete("conversation_item", ident, self._tenant)

    async def resolved(self, items: Sequence[Item], earlier: Sequence[Item] = ()) -> list[Item]:
        """The items with references replaced by what they name. Raises NotFound."""
        known = {item["id"]: item for item in earlier}
        out = []
        for item in items:
            if item["type"] == REFERENCE:
                item = known.get(item["id"]) or await self._named(item["id"])
            known[item["id"]] = item
            out.append(item)
        return out

    async def _named(self, ident: str) -> Item:
        kept = await self._archive.get("conversation_item", ident, self._tenant)
        if kept is not None:
            return kept.body
        place = await self._archive.get("item", ident, self._tenant)
        stored = None if place is None else await self._response(place.parent)
        for item in stored.response["output"] if stored else ():
            if item["id"] == ident:
                return dict(item)
        raise NotFound(
            f"Item with id '{ident[:80]}' not found.",
            hint="Items are kept with a response (store) or in a conversation; or send the item itself.",
            param="input",
        )

    async def files(self, items: list[Item]) -> dict[str, bytes]:
        """The contents of the files that items name; those that are not here are left out."""
        found = {}
        allowance = Allowance()
        for ident in named_files(items):
            kept = await self._archive.get("file", ident, self._tenant)
            if kept is None:
                continue
            if kept.body["bytes"] > MAX_FILE:
                raise BodyTooLarge(
                    f"File '{kept.id}' is larger than {MAX_FILE // 2**20} MiB.",
                    hint="Send a part of it.",
                    param="input",
                )
            allowance.take(kept.body["bytes"], "input")
            found[ident] = await self._archive.content(kept)
        return found


def _no_conversation(ident: str, param: str | None = None) -> NotFound:
    return NotFound(f"Conversation with id '{ident[:80]}' not found.", param=param)


def _no_previous(ident: str) -> BadRequest:
    return BadRequest(
        f"Previous response with id '{ident[:80]}' not found.",
        hint="It was not stored, or it is deleted or too old; send the whole conversation as input.",
        param="previous_response_id",
    )
