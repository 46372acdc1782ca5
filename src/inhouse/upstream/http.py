"""One worker's HTTP: a private socket, simple calls and streams, errors in our words.

Each request has its own connection. llama-server keeps a thread busy for every idle one, so a pool
would starve its health check; connecting to a Unix socket takes about 0.1 ms; and closing the
connection is what cancels a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NoReturn, Protocol

import aiohttp
import msgspec

from ..core.engine import Launch
from ..core.errors import EngineError, InhouseError, WorkerDied
from ..core.events import Event, Started
from ..dialects.llamaserver import ChatDecoder, CompletionDecoder, Order, from_answer

_BROKEN = (aiohttp.ClientError, ConnectionError, OSError)
_encode = msgspec.json.Encoder(enc_hook=dict).encode


def decoder_for(order: Order) -> ChatDecoder | CompletionDecoder:
    """The decoder of an order's answer."""
    kind = ChatDecoder if order.path.startswith("/v1/chat") else CompletionDecoder
    return kind(order.reading)


class Asking(Protocol):
    """A call whose answer is a stream; ``param`` is the field that a refusal names."""

    @property
    def path(self) -> str: ...
    @property
    def body(self) -> Mapping[str, Any]: ...
    @property
    def param(self) -> str: ...


class Decoder(Protocol):
    """Reads such an answer; ``done`` once nothing of it is missing."""

    @property
    def done(self) -> bool: ...
    def feed(self, chunk: bytes, /) -> list[Event]: ...


class Link:
    """The connection to one worker."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    def _open(self) -> aiohttp.ClientSession:
        if self._closed:
            raise WorkerDied("The model was stopped.", hint="Try again; it will be loaded anew.")
        if self._session is None:
            launch = self.launch
            connector: aiohttp.BaseConnector
            if _is_tcp(launch.address):
                connector = aiohttp.TCPConnector(force_close=True, limit=0)
                self._base = f"http://{launch.address}"
            else:
                connector = aiohttp.UnixConnector(path=launch.address, force_close=True, limit=0)
                self._base = "http://worker"
            headers = {"content-type": "application/json"}
            if launch.secret:
                headers["authorization"] = f"Bearer {launch.secret}"
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    @asynccontextmanager
    async def _answer(
        self, path: str, body: Mapping[str, Any], param: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An accepted answer; its connection is closed at the end, whatever was read."""
        session = self._open()
        try:
            response = await session.post(self._base + path, data=_encode(body))
        except _BROKEN as error:
            _died(error)
        try:
            if response.status != 200:
                raise self._refused(response, await response.read(), param)
            yield response
        except _BROKEN as error:
            _died(error)
        finally:
            response.close()

    def _refused(self, response: aiohttp.ClientResponse, body: bytes, param: str) -> InhouseError:
        """The error of an answer that is not 200."""
        return from_answer(response.status, body, param=param)

    async def call(self, path: str, body: Mapping[str, Any], *, param: str) -> bytes:
        """The whole answer of a small call. Raises BadRequest, EngineError or WorkerDied."""
        async with self._answer(path, body, param) as response:
            return await response.read()

    async def events(self, order: Asking, decoder: Decoder) -> AsyncGenerator[Event, None]:
        """``Started`` when the engine took the request, then what it says. Closing it cancels.

        Raises WorkerDied when the connection breaks, EngineError when the stream ends too early.
        """
        async with self._answer(order.path, order.body, order.param) as response:
            yield Started()
            feed = decoder.feed
            async for chunk in response.content.iter_any():
                for event in feed(chunk):
                    yield event
        if not decoder.done:
            raise EngineError(
                "The engine ended the answer early.", hint="Try again; the log has the details."
            )

    async def tokenize(self, text: str, *, special: bool = True, control: bool = True) -> list[int]:
        """Token ids; ``special`` adds what the model puts around a text, ``control`` reads control tokens."""
        body = {"content": text, "add_special": special, "parse_special": control}
        return list(msgspec.json.decode(await self.call("/tokenize", body, param="prompt"))["tokens"])

    async def detokenize(self, ids: list[int]) -> str:
        """The text of token ids."""
        answer = msgspec.json.decode(await self.call("/detokenize", {"tokens": ids}, param="prompt"))
        return str(answer["content"])

    async def render(self, fields: Mapping[str, Any]) -> str:
        """The prompt that the chat template makes."""
        answer = msgspec.json.decode(await self.call("/apply-template", fields, param="messages"))
        return str(answer["prompt"])

    async def healthy(self, timeout: float) -> bool:
        """Whether the worker is ready and answers within ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                async with self._open().get(self._base + self.launch.ready_path) as response:
                    return response.status == 200
        except (*_BROKEN, TimeoutError, WorkerDied):
            return False

    async def close(self) -> None:
        """Close everything. Idempotent."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _is_tcp(address: str) -> bool:
    host, colon, port = address.rpartition(":")
    return bool(colon and host and port.isdigit() and "/" not in address)


def _died(error: Exception) -> NoReturn:
    raise WorkerDied(
        "The model's worker process ended during the request.",
        hint="Try again; the model is loaded anew.",
        detail=repr(error),
    ) from error
