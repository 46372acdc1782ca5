"""Just enough HTTP/1.1 for the fake engine: one request at a time on a connection, keep-alive."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import unquote_to_bytes

import httptools

from .fake_wire import dumps

_MOST = 256 * 2**20  # bytes of one body
_PHRASES = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 503: "Service Unavailable"}


class Refused(Exception):
    """An answer that is an error, shaped as llama-server does."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error", **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"code": status, "message": message, "type": kind, **more}}


Handler = Callable[["Connection", bytes], Awaitable[dict[str, Any] | list[Any] | None]]


class Connection(asyncio.Protocol):
    """One client. A handler returns JSON to answer, or None after it has streamed by itself."""

    def __init__(self, routes: dict[tuple[str, str], Handler], secret: str) -> None:
        self._routes, self._secret = routes, secret
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: list[tuple[str, str, str, bytes]] = []
        self._last = False
        self._streaming = False
        self.writable = asyncio.Event()
        self.writable.set()
        self._reset()

    def _reset(self) -> None:
        self._url, self._authorization, self._body = b"", "", bytearray()

    # transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left: whatever runs for it ends with the next turn of the loop."""
        self._transport = None
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._close()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # parser

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"authorization":
            self._authorization = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > _MOST:
            self._close()

    def on_message_complete(self) -> None:
        path = unquote_to_bytes(httptools.parse_url(self._url).path or b"/").decode("utf-8", "replace")
        self._waiting.append(
            (self._parser.get_method().decode(), path, self._authorization, bytes(self._body))
        )
        self._last = not self._parser.should_keep_alive()
        self._reset()
        if self._task is None:
            self._task = asyncio.ensure_future(self._serve())

    # answers

    async def _serve(self) -> None:
        try:
            while self._waiting:
                await self._answer(*self._waiting.pop(0))
            if self._last:
                self._close()
        finally:
            self._task = None

    async def _answer(self, method: str, path: str, authorization: str, body: bytes) -> None:
        try:
            if path != "/health" and not self._knows_secret(authorization):
                raise Refused(401, "Invalid API Key", "authentication_error")
            handler = self._routes.get((method, path))
            if handler is None:
                raise Refused(404, "File Not Found", "not_found_error")
            value = await handler(self, body)
        except Refused as refused:
            self._json(refused.status, refused.body)
            return
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self._json(400, Refused(400, f"cannot read the request: {error}").body)
            return
        if value is not None:
            self._json(200, value)
        else:
            self._end()

    def _knows_secret(self, authorization: str) -> bool:
        return not self._secret or hmac.compare_digest(
            authorization.encode(), f"Bearer {self._secret}".encode()
        )

    def _json(self, status: int, value: Any) -> None:
        body = dumps(value)
        self._write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: %d\r\n\r\n"
            % (status, _PHRASES.get(status, "Error").encode(), len(body))
            + body
        )

    def chunk(self, data: bytes) -> None:
        """Write a part of an event stream, with the headers before the first one."""
        if not data:
            return
        if not self._streaming:
            self._streaming = True
            self._write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
            )
        self._write(b"%x\r\n%b\r\n" % (len(data), data))

    def _end(self) -> None:
        self._streaming = False
        self._write(b"0\r\n\r\n")

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
