"""multipart/form-data (RFC 7578) as a stream: one part after another, in bounded memory, strictly."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from math import isinf
from typing import NoReturn
from urllib.parse import unquote

from ...core.errors import BadRequest
from ..answers import Receive

MAX_PARTS = 32
MAX_HEADERS = 16 * 1024
MAX_TEXT = 64 * 1024
_BOUNDARY = re.compile(
    r"multipart/form-data\s*;(?:.*;)?\s*boundary=(?:\"([0-9A-Za-z'()+_,./:=? -]{1,70})\"|([^\s\";,]{1,70}))"
    r"\s*(?:;.*)?\Z",
    re.ASCII | re.IGNORECASE,
)
_PARAMETER = re.compile(r';\s*([a-z*]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^";\s]*)', re.IGNORECASE | re.DOTALL)
_PLAIN = ("7bit", "8bit", "binary")
_HINT = "Send multipart/form-data as RFC 7578 has it."


@dataclass(frozen=True, slots=True)
class Part:
    """The head of a part. ``filename`` None: a field of text."""

    name: str
    filename: str | None = None


def boundary_of(content_type: str) -> bytes:
    """What divides the parts. Raises BadRequest."""
    found = _BOUNDARY.match(content_type)
    if found is None:
        raise BadRequest("The body must be multipart/form-data with a boundary.", hint=_HINT)
    return (found[1] or found[2]).encode("ascii", "replace")


async def received(receive: Receive, stall: float) -> AsyncGenerator[bytes, None]:
    """The pieces of a body. Raises BadRequest after ``stall`` seconds without one, ConnectionError when
    the client left."""
    more = True
    while more:
        try:
            async with asyncio.timeout(None if isinf(stall) else stall):
                message = await receive()
        except TimeoutError as error:
            raise BadRequest("The upload stalled.", hint="Send it again.") from error
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client left")
        more = bool(message.get("more_body", False))
        yield bytes(message.get("body", b""))


class Form:
    """Reads a form: ``next`` for each part, then ``content`` or ``text`` of it. Raises BadRequest."""

    def __init__(self, chunks: AsyncIterator[bytes], boundary: bytes) -> None:
        self._chunks = chunks
        self._delimiter = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")
        self._parts = 0
        self._open = False
        self._ended = False

    async def next(self) -> Part | None:
        """The next part; what is left of the one before is skipped. None at the end."""
        if self._ended:
            return None
        if self._parts == 0:
            await self._first()
        elif self._open:
            async for _ in self.content():
                pass
        await self._need(2)
        if self._buffer.startswith(b"--"):
            self._ended = True
            async for _ in self._chunks:
                pass  # what follows the end has no meaning
            return None
        self._parts += 1
        if self._parts > MAX_PARTS:
            _refuse(f"it has more than {MAX_PARTS} parts")
        self._open = True
        return _part(await self._head())

    async def _first(self) -> None:
        await self._need(len(self._delimiter))
        if not self._buffer.startswith(self._delimiter):
            _refuse("it does not begin with its boundary")
        del self._buffer[: len(self._delimiter)]

    async def _head(self) -> str:
        """The headers of a part; the buffer begins with the end of the boundary's line."""
        searched = 0
        while (end := self._buffer.find(b"\r\n\r\n", searched)) < 0:
            searched = max(0, len(self._buffer) - 3)
            if len(self._buffer) > MAX_HEADERS:
                _refuse("the headers of a part are too long")
            await self._fill()
        block = bytes(self._buffer[: end + 2])
        del self._buffer[: end + 4]
        line, _, headers = block.partition(b"\r\n")
        if line.strip(b" \t") or len(block) > MAX_HEADERS:
            _refuse("a boundary is malformed")
        try:
            return headers.decode("utf-8")
        except UnicodeDecodeError:
            _refuse("the headers of a part are not UTF-8")

    async def content(self) -> AsyncGenerator[bytes, None]:
        """The content of the part, in pieces."""
        hold = len(self._delimiter) - 1
        while (at := self._buffer.find(self._delimiter)) < 0:
            if len(self._buffer) > hold:
                piece = bytes(self._buffer[:-hold])
                del self._buffer[:-hold]
                yield piece
            await self._fill()
        last = bytes(self._buffer[:at])
        del self._buffer[: at + len(self._delimiter)]
        self._open = False
        if last:
            yield last

    async def text(self) -> str:
        """The content of a short part of text."""
        data = b""
        async for piece in self.content():
            data += piece
            if len(data) > MAX_TEXT:
                _refuse("a field is too long")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            _refuse("a field is not UTF-8")

    async def _need(self, size: int) -> None:
        while len(self._buffer) < size:
            await self._fill()

    async def _fill(self) -> None:
        chunk = await anext(self._chunks, None)
        if chunk is None:
            _refuse("it ends too early")
        self._buffer += chunk


def _part(headers: str) -> Part:
    fields: dict[str, str] = {}
    for line in headers.split("\r\n"):
        name, colon, value = line.partition(":")
        if line and not colon:
            _refuse("a header of a part is malformed")
        fields[name.strip().lower()] = value.strip()
    if fields.get("content-transfer-encoding", "binary").lower() not in _PLAIN:
        _refuse("a part has a transfer encoding")
    kind, _, _ = fields.get("content-disposition", "").partition(";")
    if kind.strip().lower() != "form-data":
        _refuse("a part is no form-data")
    given = {name.lower(): _plain(value) for name, value in _PARAMETER.findall(fields["content-disposition"])}
    if "name" not in given:
        _refuse("a part has no name")
    return Part(given["name"], given.get("filename", _extended(given.get("filename*"))))


def _plain(value: str) -> str:
    """A parameter without its quotes; browsers write three characters as in a URL, others escape two."""
    if not value.startswith('"'):
        return value
    text = value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return text.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


def _extended(value: str | None) -> str | None:
    """``UTF-8''name%20of%20it``: not allowed by the standard, and sent."""
    if value is None:
        return None
    return unquote(value.rpartition("'")[2], errors="replace")


def _refuse(what: str) -> NoReturn:
    raise BadRequest(f"The form is malformed: {what}.", hint=_HINT)
