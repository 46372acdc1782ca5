"""Large bodies in and out: blobs for a create, bundles for machines without a network."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from math import isinf
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import parse_qs, unquote_to_bytes

from ...core.errors import BadRequest, Cancelled, InhouseError
from ...dialects import inhouse, ollama
from ...store import Export
from .. import answers
from ..answers import HttpError, Info, Receive, Scope, Send

if TYPE_CHECKING:
    from .services import Services

_BLOBS = "/api/blobs/"


T = TypeVar("T")


async def _apart(work: Callable[[], T]) -> T:
    """Run in a thread of its own: what waits for a sender must not use up the threads that answer others."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if not future.done():
            future.set_exception(error) if error else future.set_result(cast(T, result))

    def run() -> None:
        result, failed = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - the thread's border: it is raised where it is awaited
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=run, name="upload", daemon=True).start()
    return await future


class Upload:
    """A request body as a file to read from in a thread; the event loop stays with the caller.

    ``stall``: seconds without a byte after which the sender is given up.
    """

    def __init__(self, receive: Receive, stall: float) -> None:
        self._receive = receive
        self._stall = stall
        self._loop = asyncio.get_running_loop()
        self._left = memoryview(b"")
        self._more = True

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes, b"" at the end. Raises Cancelled when the client left, BadRequest when
        it fell silent."""
        while not self._left and self._more:
            message = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
            self._left = memoryview(message)
        piece = self._left[:size]
        self._left = self._left[size:]
        return bytes(piece)

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout(None if isinf(self._stall) else self._stall):
                message = await self._receive()
        except TimeoutError as error:
            raise BadRequest("the upload stalled", hint="Send it again.") from error
        if message["type"] == "http.disconnect":
            self._more = False
            raise Cancelled("The client left.")
        self._more = bool(message.get("more_body", False))
        return bytes(message.get("body", b""))


def _digest(scope: Scope) -> str:
    """The digest in the path, ``sha256:`` or Ollama's ``sha256-`` before it."""
    text = unquote_to_bytes(scope["raw_path"])[len(_BLOBS) :].decode("utf-8", "replace")
    return f"sha256:{text[7:]}" if text[:7] == "sha256-" else text


async def blob(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """HEAD: 200 or 404. POST: 201 for a new one, 200 for one that is here."""
    endpoint = _has_blob if scope["method"] == "HEAD" else _take_blob
    await endpoint(services, scope, receive, send)


async def _has_blob(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        here = await asyncio.to_thread(services.store.has_blob, _digest(scope))
    except InhouseError as error:
        await answers.error(scope, send, ollama.render_error(error))
        return
    await answers.whole(scope, send, b"", status=200 if here else 404)


async def _take_blob(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    _plain_body(scope)
    info: Info = scope["inhouse"]
    try:
        digest, stream = _digest(scope), Upload(receive, services.config.server.stall_timeout)
        new = await _apart(lambda: services.store.receive(digest, stream))
    except InhouseError as error:
        info.outcome = error.code
        await answers.error(scope, send, ollama.render_error(error))
        return
    info.outcome = "ok"
    await answers.whole(scope, send, b"", status=201 if new else 200)


def _plain_body(scope: Scope) -> None:
    if (answers.header(scope, b"content-encoding") or "identity") != "identity":
        raise HttpError(415, "A compressed request body is not accepted.")


async def take_bundle(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """Import a bundle from the body; ``?seal=`` holds it to one."""
    _plain_body(scope)
    info: Info = scope["inhouse"]
    seal = parse_qs(scope["query_string"].decode("latin-1")).get("seal", [""])[0]
    stream = Upload(receive, services.config.server.stall_timeout)
    try:
        cards = await _apart(lambda: services.store.import_bundle(stream, seal=seal))
    except InhouseError as error:
        info.outcome = error.code
        await answers.error(scope, send, ollama.render_error(error))
        return
    info.outcome = "ok"
    await answers.json(scope, send, {"models": [str(card.name) for card in cards]})


async def give_bundle(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """Export models as one bundle; its seal stands in the header ``x-inhouse-seal``."""
    info: Info = scope["inhouse"]
    body = await answers.body(scope, receive, services.config.server.max_body)
    try:
        bundle = await asyncio.to_thread(_export, services, body)
    except InhouseError as error:
        info.outcome = error.code
        await answers.error(scope, send, ollama.render_error(error))
        return
    headers = [
        (b"content-length", str(bundle.size).encode()),
        (b"x-inhouse-seal", bundle.seal.encode()),
        (b"content-disposition", b'attachment; filename="models.inhouse"'),
    ]
    await answers.start(scope, send, 200, "application/x-tar", headers)
    chunks = bundle.chunks()
    with contextlib.closing(chunks):
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            # An error in here cuts the answer short of its content-length: the client sees it.
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    info.outcome = "ok"


def _export(services: Services, body: bytes) -> Export:
    names = [services.catalog.resolve(text).name for text in inhouse.decode_models(body)]
    if not names:
        raise BadRequest("models is required", hint="Name the models to export.", param="models")
    return services.store.export(names)


__all__ = ["Upload", "blob", "give_bundle", "take_bundle"]
