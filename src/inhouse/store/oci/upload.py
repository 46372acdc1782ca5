"""One blob to a registry: mounted, sent whole or in parts, taken up again where it broke off.

The registry says after each step where the next one goes, which must be on its own machine.
Protocol: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

from ...core.errors import DigestMismatch, SourceFailed
from ...net import Reply
from ..layout import guarded
from ..sources.base import PullEvent
from .access import origin
from .package import Blob
from .remote import Remote

PARTS: Final = 64
PART_LEAST: Final = 100 * 10**6
PART_MOST: Final = 1000 * 10**6
"""Ollama's client cuts a blob into this many parts of these sizes; its registry expects as much."""
BREAKS: Final = 5
"""How often an upload may break off and be taken up again."""
_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d{1,19})\Z")
_STREAM: Final = {"Content-Type": "application/octet-stream"}


class Upload:
    """The upload of one blob. ``etag``: end with the ETag of the parts, as Ollama's client does."""

    def __init__(self, remote: Remote, blob: Blob, *, etag: bool = False, part: int = 0) -> None:
        self._remote = remote
        self._blob = blob
        self._etag = etag
        self._part = part or min(max(blob.size // PARTS, PART_LEAST), PART_MOST)
        self._sent: list[tuple[int, int]] = []

    def run(self, mount_from: str = "") -> None:
        """Make the registry have the blob. ``mount_from``: a repository of it that may have it.

        Raises SourceFailed, DigestMismatch, Forbidden, StoreError, Cancelled.
        """
        self._say(0)
        if self._remote.has(self._blob.digest):
            return self._say(self._blob.size)
        where = self._start(mount_from)
        if not where:
            return self._say(self._blob.size)
        if self._blob.path is None:
            self._finish(where, body=self._blob.data)
        else:
            self._send(where, self._blob.path)
        return self._say(self._blob.size)

    def _say(self, done: int) -> None:
        digest = self._blob.digest
        self._remote.watch.check()
        self._remote.watch.say(PullEvent(f"pushing {digest[7:19]}", digest, self._blob.size, done))

    def _start(self, mount_from: str) -> str:
        """Begin an upload. Returns where it goes on, "" if the registry had the blob after all."""
        url = self._remote.url("blobs", "uploads", "")
        if mount_from:
            url += "?" + urlencode({"mount": self._blob.digest, "from": mount_from})
        reply = self._remote.ask("POST", url, headers={"Content-Length": "0"}, body=b"")
        if reply.status == 201:
            return ""
        self._remote.demand(reply, 202)
        return self._next(reply)

    def _next(self, reply: Reply, default: str = "") -> str:
        """Where an upload goes on. Raises SourceFailed if that is another machine."""
        location = reply.headers.get("docker-upload-location") or reply.headers.get("location") or default
        url = urljoin(reply.url, location)
        if not location or origin(url) != origin(self._remote.base):
            raise SourceFailed(
                "The registry sends the upload elsewhere, which is refused.",
                hint="Tell its operator.",
                detail=url.partition("?")[0],
            )
        return url

    def _send(self, where: str, path: Path) -> None:
        """The file in parts; whole where the registry takes no parts."""
        offset = breaks = 0
        while where and offset < self._blob.size:
            length = min(self._part, self._blob.size - offset)
            try:
                reply = self._patch(where, path, offset, length)
            except SourceFailed:
                breaks += 1
                if breaks > BREAKS:
                    raise
                where, offset = self._resume(where)
                continue
            if reply.status in (404, 405, 415, 501) and not offset:
                where = self._start("")
                return self._finish(where, path=path) if where else None
            if reply.status == 416 and breaks < BREAKS:
                breaks += 1
                where, offset = self._resume(where)
                continue
            self._remote.demand(reply, 202, 201, 204)
            self._sent.append((offset, length))
            where, offset = self._next(reply, where), offset + length
        return self._finish(where, path=path, parts=True) if where else None

    def _patch(self, where: str, path: Path, offset: int, length: int) -> Reply:
        fields = {**_STREAM, "Content-Range": f"{offset}-{offset + length - 1}"}

        def send(secret: Mapping[str, str]) -> Reply:
            return self._remote.client.upload(
                "PATCH",
                where,
                path,
                span=(offset, length),
                headers={**fields, **secret},
                say=lambda done: self._say(offset + done),
            )

        return self._remote.authorized(send)

    def _resume(self, where: str) -> tuple[str, int]:
        """Where to go on and from which byte: after what has arrived, or from the start if that is lost."""
        reply = self._remote.ask("GET", where)
        match = _RANGE.match(reply.headers.get("range", "").strip())
        start = sum(length for _, length in self._sent)
        # "0-0" is said for no byte as well as for one
        arrived = int(match[1]) + 1 if match and int(match[1]) else 0
        if reply.status not in (200, 204) or not start <= arrived <= self._blob.size:
            self._sent.clear()
            return self._start(""), 0
        if arrived > start:
            self._sent.append((start, arrived - start))
        self._say(arrived)
        return self._next(reply, where), arrived

    def _finish(
        self, where: str, *, path: Path | None = None, parts: bool = False, body: bytes = b""
    ) -> None:
        """The last request, which names the digest; with the whole file unless its parts are there."""
        more = {"digest": self._blob.digest}
        if self._etag and parts and path:
            more["etag"] = _etag(path, self._sent)
        url = _with(where, more)
        if path and not parts:

            def send(secret: Mapping[str, str]) -> Reply:
                fields = {**_STREAM, **secret}
                return self._remote.client.upload("PUT", url, path, headers=fields, say=self._say)

            reply = self._remote.authorized(send)
        else:
            reply = self._remote.ask("PUT", url, headers=_STREAM, body=body)
        if reply.status == 400 and b"DIGEST" in reply.body.upper():
            raise DigestMismatch(
                f"The registry refused a blob as not what its digest {self._blob.digest} says.",
                hint="The file changed on disk, or on the way: check it with: inhouse verify",
            )
        if reply.status == 404 and self._remote.has(self._blob.digest):
            return  # an earlier try of this request got through, its answer did not
        self._remote.demand(reply, 201, 202, 204)


def _with(url: str, more: Mapping[str, str]) -> str:
    """A URL with further query parameters; what is there stays as it is."""
    parts = urlsplit(url)
    added = urlencode(more)
    return urlunsplit(parts._replace(query=f"{parts.query}&{added}" if parts.query else added))


def _etag(path: Path, parts: list[tuple[int, int]]) -> str:
    """The ETag of a file stored in parts: md5 of the parts' md5 sums, and their number."""
    whole = hashlib.md5(usedforsecurity=False)
    with guarded("reading a model"), path.open("rb") as file:
        for offset, length in parts:
            file.seek(offset)
            left, digest = length, hashlib.md5(usedforsecurity=False)
            while left and (chunk := file.read(min(left, 2**20))):
                digest.update(chunk)
                left -= len(chunk)
            whole.update(digest.digest())
    return f"{whole.hexdigest()}-{len(parts)}"
