"""Endpoints of /v1/files, and files as parts of a conversation."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import quote

from ...archive import Archive, Kept, Page
from ...config import Keep
from ...core.errors import BadRequest, BodyTooLarge, Forbidden, InhouseError, NotFound, Unsupported
from ...core.messages import Image, Part, Remote, Text
from ...core.requests import Chat
from ...dialects import images, openai, textfiles
from ...dialects.codec import ErrorAnswer
from ...dialects.openai.files import (
    Allowance,
    check_filename,
    check_lifetime,
    check_purpose,
    file_object,
    kept_id,
)
from ...dialects.openai.lists import read_query, render_list
from ...dialects.openai.messages import check_images
from ...dialects.openai.stored import render_deleted
from ...dialects.wire import dumps
from .. import answers
from ..answers import HttpError, Info, Receive, Scope, Send
from ..manage.models import answered
from .multipart import Form, boundary_of, received

if TYPE_CHECKING:
    from ..manage.services import Services

KIND = "file"
BATCH_DAYS = 30
MOST_LISTED = 10_000
_OVERHEAD = 2**20  # of a form around its file
_DAY = 86_400


def tenant_of(scope: Scope) -> str:
    """Whose things a request is about."""
    info: Info = scope["inhouse"]
    return info.caller.tenant


async def attended(
    services: Services, scope: Scope, send: Send, work: Callable[[], Awaitable[bytes]]
) -> None:
    """Send what ``work`` gives, or its error; 403 where nothing is kept."""

    async def checked() -> bytes:
        if not services.config.keep.enabled:
            raise Forbidden(
                "This server keeps nothing.", hint="Let it: keep.enabled (INHOUSE_KEEP) in its configuration."
            )
        return await work()

    await answered(scope, send, checked(), _rendered)


def _rendered(error: InhouseError) -> ErrorAnswer:
    """What is too large was not read to its end: the connection cannot go on."""
    answer = openai.render_error(error)
    if not isinstance(error, BodyTooLarge):
        return answer
    return dataclasses.replace(answer, headers=(*answer.headers, ("Connection", "close")))


async def upload(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """POST /v1/files."""
    if (answers.header(scope, b"content-encoding") or "identity") != "identity":
        raise HttpError(415, "A compressed request body is not accepted.")
    settings = services.config

    async def work() -> bytes:
        if int(answers.header(scope, b"content-length") or 0) > settings.keep.file_size + _OVERHEAD:
            raise BodyTooLarge(
                f"The file is larger than {settings.keep.file_size} bytes.", hint="Split it.", param="file"
            )
        boundary = boundary_of(answers.header(scope, b"content-type") or "")
        async with aclosing(received(receive, settings.server.stall_timeout)) as chunks:
            incoming = Incoming(Form(chunks, boundary), tenant_of(scope), settings.keep)
            async with aclosing(incoming.content()) as content:
                kept = await services.archive.write_file(incoming.finish, content, settings.keep.file_size)
        return dumps(_shown(kept))

    await attended(services, scope, send, work)


class Incoming:
    """An upload: its fields may come before and after the file."""

    def __init__(self, form: Form, tenant: str, keep: Keep) -> None:
        self._form = form
        self._tenant = tenant
        self._keep = keep
        self._fields: dict[str, str] = {}
        self._filename: str | None = None

    async def content(self) -> AsyncGenerator[bytes, None]:
        """The bytes of the file; all other fields are read on the way. Raises BadRequest."""
        while (part := await self._form.next()) is not None:
            if part.name != "file":
                self._fields[part.name] = await self._form.text()
                if part.name == "purpose":
                    check_purpose(self._fields["purpose"])
                continue
            if self._filename is not None:
                raise BadRequest("Only one file may be sent at a time.", param="file")
            self._filename = check_filename(part.filename)
            async with aclosing(self._form.content()) as pieces:
                async for piece in pieces:
                    yield piece

    def finish(self, size: int) -> Kept:
        """What is kept of it. Raises BadRequest for what is missing or wrong."""
        fields = self._fields
        filename = check_filename(self._filename)
        purpose = check_purpose(fields.get("purpose"))
        seconds = check_lifetime(fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]"))
        if seconds is None and purpose == "batch":
            seconds = BATCH_DAYS * _DAY
        if seconds is not None and self._keep.days:
            seconds = min(seconds, self._keep.days * _DAY)
        now = time.time()
        body = {"bytes": size, "filename": filename, "purpose": purpose}
        expires = None if seconds is None else now + seconds
        return Kept(KIND, f"file-{secrets.token_hex(12)}", self._tenant, now, body, expires=expires)


def _shown(kept: Kept) -> dict[str, object]:
    return file_object(kept.id, kept.created, kept.expires, kept.body)


async def listed(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """GET /v1/files."""

    async def work() -> bytes:
        asked = read_query(scope["query_string"], limit=MOST_LISTED, most=MOST_LISTED)
        purpose = asked.fields.get("purpose")
        page = Page(
            after=asked.after,
            before=asked.before,
            limit=asked.limit,
            ascending=asked.ascending,
            match={"purpose": purpose} if purpose else {},
        )
        found, more = await services.archive.page(KIND, tenant_of(scope), page)
        return render_list([_shown(kept) for kept in found], more)

    await attended(services, scope, send, work)


async def one(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """GET /v1/files/{id}."""

    async def work() -> bytes:
        return dumps(_shown(await found(services.archive, scope["params"]["id"], tenant_of(scope))))

    await attended(services, scope, send, work)


async def delete(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """DELETE /v1/files/{id}."""

    async def work() -> bytes:
        ident = scope["params"]["id"]
        if not await services.archive.delete(KIND, ident, tenant_of(scope)):
            raise _none(ident)
        return render_deleted(ident, "file")

    await attended(services, scope, send, work)


async def content(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    """GET /v1/files/{id}/content."""
    info: Info = scope["inhouse"]
    pieces: AsyncGenerator[bytes, None] | None = None

    async def begin() -> tuple[Kept, bytes]:
        nonlocal pieces
        if not services.config.keep.enabled:
            raise Forbidden("This server keeps nothing.")
        kept = await found(services.archive, scope["params"]["id"], tenant_of(scope))
        pieces = services.archive.read_file(kept)
        return kept, await anext(pieces, b"")

    try:
        kept, piece = await begin()
    except InhouseError as error:
        info.outcome = error.code
        await answers.error(scope, send, _rendered(error))
        return
    assert pieces is not None  # noqa: S101  # begin made them
    headers = [
        (b"content-length", str(kept.body["bytes"]).encode()),
        (b"content-disposition", f"attachment; filename*=UTF-8''{quote(kept.body['filename'], '')}".encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
    async with aclosing(pieces):
        await answers.start(scope, send, 200, "application/octet-stream", headers)
        while piece:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await anext(pieces, b"")
    await send({"type": "http.response.body", "body": b""})
    info.outcome = "ok"


async def found(archive: Archive, ident: str, tenant: str) -> Kept:
    """A tenant's file. Raises NotFound."""
    kept = await archive.get(KIND, ident, tenant)
    if kept is None:
        raise _none(ident)
    return kept


def _none(ident: str) -> NotFound:
    shown = ident[:80].encode("ascii", "backslashreplace").decode()
    return NotFound(f"No such File object: {shown}", hint="List your files at /v1/files.", param="id")


def names_files(chat: Chat) -> bool:
    """Whether files that were uploaded before are parts of a conversation."""
    parts = (part for message in chat.messages for part in message.parts)
    return any(isinstance(part, Remote) and kept_id(part) is not None for part in parts)


async def with_files(chat: Chat, archive: Archive, tenant: str) -> Chat:
    """The conversation with uploaded files in the place of their ids. Raises BadRequest."""
    named = _Named(archive, tenant)
    messages = []
    for message in chat.messages:
        parts: list[Part] = []
        for part in message.parts:
            if isinstance(part, Remote) and (ident := kept_id(part)) is not None:
                parts.append(await named.part(ident, part.param))
            else:
                parts.append(part)
        messages.append(dataclasses.replace(message, parts=tuple(parts)))
    check_images(messages)
    return dataclasses.replace(chat, messages=tuple(messages))


class _Named:
    """The files that one conversation names, each read once."""

    def __init__(self, archive: Archive, tenant: str) -> None:
        self._archive = archive
        self._tenant = tenant
        self._allowance = Allowance()
        self._read: dict[str, tuple[str, bytes]] = {}

    async def part(self, ident: str, param: str) -> Text | Image:
        """A text or an image. Raises BadRequest, BodyTooLarge, Unsupported."""
        if ident not in self._read:
            self._read[ident] = await self._file(ident, param)
        filename, raw = self._read[ident]
        self._allowance.take(len(raw), param)
        try:
            return textfiles.from_bytes(raw, filename, param)
        except (Unsupported, BodyTooLarge) as no_text:  # an image may be larger than a text
            try:
                return images.from_bytes(raw, param)
            except BadRequest:
                raise no_text from None

    async def _file(self, ident: str, param: str) -> tuple[str, bytes]:
        kept = await self._archive.get(KIND, ident, self._tenant)
        if kept is None:
            raise BadRequest(
                f"Invalid value for '{param}': no file with this id is kept.", hint="Upload it.", param=param
            )
        if kept.body["bytes"] > images.MAX_BYTES:
            raise BodyTooLarge(f"The file in '{param}' is too large for a message.", param=param)
        return kept.body["filename"], await self._archive.content(kept)


__all__ = ["content", "delete", "listed", "names_files", "one", "upload", "with_files"]
