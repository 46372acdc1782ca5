"""Just enough HTTP/1.1 for a worker, of the standard library alone: one request a connection.

A handler that is under way when its client closes is cancelled: that is how a request is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import stat
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

LONGEST_BODY = 64 * 2**20
LONGEST_HEAD = 64 * 1024
_PHRASES = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    413: "Content Too Large",
    500: "Internal Server Error",
}


class Refused(Exception):
    """An answer that is an error, shaped as OpenAI's."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": error_of(status, message, param)}


def error_of(status: int, message: str, param: str | None = None) -> dict[str, Any]:
    """The ``error`` object."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"message": message, "type": kind, "param": param, "code": status}


Answer = dict[str, Any] | AsyncGenerator[dict[str, Any], None]
Handler = Callable[[dict[str, Any]], Awaitable[Answer]]


class Site:
    """``routes``: (method, path) to handlers, which get the JSON body and give an object, or the chunks of
    an event stream. ``secret``: bearer key that all but /health need, "" none."""

    def __init__(self, routes: dict[tuple[str, str], Handler], secret: str) -> None:
        self._routes = routes
        self._secret = secret

    async def listen(self, address: str) -> asyncio.Server:
        """Serve on a Unix socket's path, readable for us alone, or on ``127.0.0.1:port``."""
        host, colon, port = address.rpartition(":")
        if colon and port.isdigit():
            return await asyncio.start_server(self._client, host, int(port), limit=LONGEST_HEAD)
        assert sys.platform != "win32"  # noqa: S101  # it gets a port
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(address).st_mode):
                os.unlink(address)
        before = os.umask(0o177)
        try:
            return await asyncio.start_unix_server(self._client, address, limit=LONGEST_HEAD)
        finally:
            os.umask(before)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            try:
                method, path, body = await self._read(reader)
            except Refused as refused:
                await _whole(writer, refused.status, refused.body)
                return
            work = asyncio.ensure_future(self._answer(writer, method, path, body))
            gone = asyncio.ensure_future(reader.read(1))
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            if not work.done():
                work.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError):
            pass  # who left needs no answer
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> tuple[str, str, bytes]:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.LimitOverrunError:
            raise Refused(413, "the head is too long") from None
        first, *lines = head.split("\r\n")
        method, _, rest = first.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        given = fields.get("authorization", "")
        known = hmac.compare_digest(given.encode(), f"Bearer {self._secret}".encode())
        if path != "/health" and self._secret and not known:
            raise Refused(401, "wrong key")
        length = fields.get("content-length", "0")
        if not length.isdigit() or "transfer-encoding" in fields:
            raise Refused(400, "a body needs its length")
        if int(length) > LONGEST_BODY:
            raise Refused(413, "the body is too large")
        return method, path, await reader.readexactly(int(length))

    async def _answer(self, writer: asyncio.StreamWriter, method: str, path: str, body: bytes) -> None:
        started = False
        try:
            handler = self._routes.get((method, path))
            if handler is None:
                raise Refused(404, "no such route")
            answer = await handler(_parsed(body) if method == "POST" else {})
            if isinstance(answer, dict):
                await _whole(writer, 200, answer)
                return
            async with contextlib.aclosing(answer) as chunks:
                async for chunk in chunks:
                    if not started:
                        started = True
                        writer.write(_head(200, "text/event-stream"))
                    writer.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
                    await writer.drain()
            writer.write(b"data: [DONE]\n\n")
            await writer.drain()
        except Refused as refused:
            if started:
                writer.write(b"data: " + json.dumps(refused.body).encode() + b"\n\n")
                await writer.drain()
            else:
                await _whole(writer, refused.status, refused.body)
        except Exception as error:  # noqa: BLE001 - one request's failure is that request's
            print(f"{path}: {error!r}", file=sys.stderr, flush=True)  # noqa: T201
            failed = {"error": error_of(500, "the model could not compute this")}
            if started:
                writer.write(b"data: " + json.dumps(failed).encode() + b"\n\n")
                await writer.drain()
            else:
                await _whole(writer, 500, failed)


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise Refused(400, "the body is not a JSON object")
    return value


def _head(status: int, kind: str, more: str = "") -> bytes:
    phrase = _PHRASES.get(status, "Error")
    return f"HTTP/1.1 {status} {phrase}\r\ncontent-type: {kind}\r\nconnection: close\r\n{more}\r\n".encode()


async def _whole(writer: asyncio.StreamWriter, status: int, value: dict[str, Any]) -> None:
    body = json.dumps(value).encode()
    writer.write(_head(status, "application/json", f"content-length: {len(body)}\r\n") + body)
    await writer.drain()
