"""The archive as the server uses it: asynchronous, one thread for the table."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ..core.errors import BodyTooLarge, NotFound
from .kept import Kept, Page
from .shelf import Content, Shelf, translated

T = TypeVar("T")


class Archive:
    """Nothing is opened or made on disk before the first use. Raises StoreError and NoSpace."""

    def __init__(self, folder: Path, *, days: int, most: int) -> None:
        self._folder = folder
        self._days = days
        self._most = most
        self._thread = ThreadPoolExecutor(1, "archive")
        self._shelf: Shelf | None = None

    async def _do(self, work: Callable[[Shelf], T]) -> T:
        def run() -> T:
            try:
                if self._shelf is None:
                    self._shelf = Shelf(self._folder, days=self._days, most=self._most)
                return work(self._shelf)
            except (sqlite3.Error, OSError) as error:
                raise translated(error) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    async def put(self, *kept: Kept) -> None:
        """Insert or replace, all or none; what is replaced keeps its place and its content."""
        await self._do(lambda shelf: shelf.put(kept))

    async def replace(self, kept: Kept) -> bool:
        """Put an object in the place of one that is there; False, and nothing is put, when it is gone."""
        return await self._do(lambda shelf: shelf.replace(kept))

    async def get(self, kind: str, id: str, tenant: str) -> Kept | None:
        """The object, if it is there and this tenant's."""
        return await self._do(lambda shelf: shelf.get(kind, id, tenant))

    async def page(self, kind: str, tenant: str, asked: Page = Page()) -> tuple[list[Kept], bool]:
        """Part of a list in the order of keeping, and whether there is more of it. Raises BadRequest
        when the object of ``after`` or ``before`` is not there."""
        return await self._do(lambda shelf: shelf.page(kind, tenant, asked))

    async def delete(self, kind: str, id: str, tenant: str, *, children: bool = False) -> bool:
        """Whether it was there. ``children``: also everything whose parent it is."""
        return await self._do(lambda shelf: shelf.delete(kind, id, tenant, children))

    async def write_file(
        self, finish: Callable[[int], Kept], chunks: AsyncIterator[bytes], most: int
    ) -> Kept:
        """Keep a content of up to ``most`` bytes, then the object that ``finish`` makes of its size.

        Raises BodyTooLarge and NoSpace; nothing stays behind when anything fails.
        """
        contents = await self._do(lambda shelf: shelf.contents)
        path = contents / secrets.token_hex(16)
        try:
            size = await _written(path, chunks, most)
            kept = finish(size)
            return await self._do(lambda shelf: _shelved(shelf, kept, Content(path.name, size)))
        except BaseException as error:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            if isinstance(error, OSError) and not isinstance(error, ConnectionError):
                raise translated(error) from error
            raise

    async def read_file(self, kept: Kept, size: int = 65_536) -> AsyncGenerator[bytes, None]:
        """The content of an object in pieces of ``size``. Raises NotFound when it is gone."""
        path = await self._do(lambda shelf: shelf.content(kept.kind, kept.id, kept.tenant))
        try:
            if path is None:
                raise FileNotFoundError
            file = await asyncio.to_thread(path.open, "rb")
        except FileNotFoundError as error:
            raise NotFound("The content is not kept any more.") from error
        with file:
            while piece := await asyncio.to_thread(file.read, size):
                yield piece

    async def content(self, kept: Kept) -> bytes:
        """The whole content of an object, whose size is the caller's care. Raises NotFound."""
        return b"".join([piece async for piece in self.read_file(kept, 2**20)])

    async def close(self) -> None:
        """Idempotent; what is under way ends first."""
        shelf, self._shelf = self._shelf, None
        if shelf is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, shelf.close)
        self._thread.shutdown(wait=False)


def _shelved(shelf: Shelf, kept: Kept, content: Content) -> Kept:
    shelf.put([kept], content)
    return replace(kept, expires=shelf.end(kept))


async def _written(path: Path, chunks: AsyncIterator[bytes], most: int) -> int:
    def sync(file: Any) -> None:
        file.flush()
        os.fsync(file.fileno())

    size = 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > most:
                raise BodyTooLarge(
                    f"The file is larger than {most} bytes.", hint="Split it, or raise keep.file_size."
                )
            await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(sync, file)
    return size


__all__ = ["Archive"]
