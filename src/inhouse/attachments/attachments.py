"""A request whose named images and texts are replaced by themselves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from ..core.errors import BadRequest, Unsupported
from ..core.messages import Image, Message, Part, Remote, Text, ToolResult
from ..core.requests import Chat, Render, Request
from ..net import url as urls
from .fetch import Body, Budget, Fetcher
from .gate import Hosts
from .read import image_of, text_of

MOST: Final = 32
"""Addresses that one request may name."""

AT_ONCE: Final = 4
THREADS: Final = 16
ROOM: Final = 4
"""How many times the size of one a request's fetches may bring in all."""

Brought = Image | Text


class Attachments:
    """Brings what requests name. Make and use it inside one event loop.

    ``hosts``: patterns of ``host`` or ``host:port`` that may be fetched from (``*`` matches any
    characters), none: nothing is ever fetched. ``size`` bytes and ``timeout`` seconds are for one address.
    """

    def __init__(self, *, hosts: Iterable[str], size: int, timeout: float) -> None:
        self._hosts = Hosts(hosts)
        self._size = size
        self._fetcher = Fetcher(self._hosts, size, timeout)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="fetch")

    def close(self) -> None:
        """End idle connections; what is still being fetched is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._fetcher.close()

    async def bring(self, request: Request) -> Request:
        """The request with every Remote replaced, or the request itself where it names nothing.

        Nothing is connected to unless all of its addresses may be fetched. Each is fetched once.
        Raises BadRequest, BodyTooLarge or Unsupported, with the field that named it.
        """
        chat = request.chat if isinstance(request, Render) else request
        if not isinstance(chat, Chat):
            return request
        wanted = list(_remotes(chat.messages))
        if not wanted:
            return request
        self._check(wanted)
        found = await self._fetch(wanted)
        chat = replace(chat, messages=tuple(_with(message, found) for message in chat.messages))
        return replace(request, chat=chat) if isinstance(request, Render) else chat

    def _check(self, wanted: list[Remote]) -> None:
        """Refuse what can be refused without asking anybody."""
        if not self._hosts:
            raise Unsupported(
                f"'{wanted[0].param}' names an address, and nothing is fetched here.",
                hint="Send the content itself (images as a base64 data: URI), or ask the operator to allow"
                " hosts with INHOUSE_FETCH_HOSTS.",
                param=wanted[0].param,
            )
        if len(wanted) > MOST:
            param = wanted[MOST].param
            raise BadRequest(
                f"At most {MOST} addresses may be named in one request.",
                hint="Send fewer, or the content itself.",
                param=param,
            )
        for remote in wanted:
            if not self._hosts.allows(_parsed(remote)):
                raise Unsupported(
                    f"'{remote.param}' names an address that is not fetched from here.",
                    hint="Send the content itself (images as a base64 data: URI), or ask the operator to"
                    " allow its host with INHOUSE_FETCH_HOSTS.",
                    param=remote.param,
                )

    async def _fetch(self, wanted: list[Remote]) -> Mapping[Remote, Brought]:
        """All that is wanted, a few at a time; leaving early ends the rest within moments."""
        loop, stopped, budget = asyncio.get_running_loop(), threading.Event(), Budget(ROOM * self._size)
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(remote: Remote) -> Body:
            async with turns:
                return await loop.run_in_executor(
                    self._pool, self._fetcher.fetch, remote.url, remote.param, stopped, budget
                )

        first: dict[str, Remote] = {}
        for remote in wanted:
            first.setdefault(remote.url, remote)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {url: group.create_task(one(remote)) for url, remote in first.items()}
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            stopped.set()
        bodies = {url: task.result() for url, task in tasks.items()}
        return await loop.run_in_executor(self._pool, _read, wanted, bodies)


def _parsed(remote: Remote) -> urls.Url:
    try:
        return urls.parse(remote.url)
    except BadRequest as error:
        raise BadRequest(
            f"Invalid address in '{remote.param}': {error.message}",
            hint="It looks like https://host/picture.png.",
            param=remote.param,
        ) from error


def _read(wanted: list[Remote], bodies: Mapping[str, Body]) -> dict[Remote, Brought]:
    return {
        remote: (image_of if remote.kind == "image" else text_of)(bodies[remote.url], remote.param)
        for remote in wanted
    }


def _remotes(messages: Iterable[Message]) -> Iterator[Remote]:
    for message in messages:
        for part in message.parts:
            inner = part.images if isinstance(part, ToolResult) else (part,)
            yield from (one for one in inner if isinstance(one, Remote))


def _with(message: Message, found: Mapping[Remote, Brought]) -> Message:
    return replace(message, parts=tuple(_part(part, found) for part in message.parts))


def _part(part: Part, found: Mapping[Remote, Brought]) -> Part:
    if isinstance(part, Remote):
        return found[part]
    if not isinstance(part, ToolResult):
        return part
    inner = [found[one] if isinstance(one, Remote) else one for one in part.images]
    texts = [one.text for one in inner if isinstance(one, Text)]
    return replace(
        part,
        text="\n".join([part.text, *texts]) if texts else part.text,
        images=tuple(one for one in inner if isinstance(one, Image)),
    )
