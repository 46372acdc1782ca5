"""A file behind a URL as something that a transfer reads from: GET with Range and If-Range (RFC 9110)."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Final, Protocol

from ..core.errors import InhouseError, SourceFailed
from . import retry
from . import url as urls
from .line import Broken, NoRanges
from .reader import Changed, Facts, Tick
from .wire import HARMLESS, Answer, Request

EXPIRED: Final = frozenset({401, 403, 404, 410})
"""What a signed address answers once its time is over."""

_SPAN = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})\Z", re.ASCII)


class Opener(Protocol):
    """What of a client is used here."""

    def open(self, request: Request, tick: Tick) -> Answer: ...


class HttpReader:
    """See ``reader.Reader``. The address that a redirect led to is kept while it works, and asked for
    anew at the original one when it has expired. ``headers`` go to the original's origin only."""

    def __init__(self, client: Opener, url: str, headers: Mapping[str, str]) -> None:
        self._client = client
        self._url = url
        self._headers = dict(headers)
        self._place = ""
        self._worked = False
        self._lock = threading.Lock()

    def begin(self, start: int, end: int, tick: Tick) -> tuple[Facts, Answer]:
        answer = self._get({"Range": f"bytes={start}-{end - 1}"}, tick)
        span = _span(answer)
        if span and span[0] == start and span[1] <= end:
            return Facts(span[2], validator(answer), True), answer
        if answer.status == 200:
            return Facts(answer.length, validator(answer), False), answer
        answer.close()
        if answer.status in (206, 416):  # it lies, or the file is empty
            return self.whole(tick)
        raise refused(answer)

    def open(self, start: int, end: int, facts: Facts, tick: Tick) -> Answer:
        headers = {"Range": f"bytes={start}-{end - 1}"}
        if facts.validator:
            headers["If-Range"] = facts.validator
        answer = self._get(headers, tick)
        span = _span(answer)
        same = facts.validator in ("", validator(answer))
        if same and span and span[0] == start and span[1] <= end and span[2] == facts.size:
            return answer
        answer.close()
        if answer.status == 200 and same and facts.validator:
            raise NoRanges("all came instead of a range")
        if answer.status == 206 and same and (not span or span[2] == facts.size):
            raise Broken("another range came than was asked for")
        if answer.status in (200, 206, 412, 416):
            raise Changed
        raise refused(answer)

    def whole(self, tick: Tick) -> tuple[Facts, Answer]:
        answer = self._get({}, tick)
        if answer.status != 200:
            answer.close()
            raise refused(answer)
        return Facts(answer.length, validator(answer), False), answer

    def _get(self, headers: Mapping[str, str], tick: Tick) -> Answer:
        """An answer that is no passing failure. Raises Broken for those."""
        with self._lock:
            place = self._place
        while True:
            answer = self._client.open(Request("GET", place or self._url, self._fields(headers, place)), tick)
            if not place or answer.status not in EXPIRED:
                break
            answer.close()
            place = ""
        if retry.should_retry("GET", answer.status) or (self._worked and answer.status in EXPIRED):
            answer.close()
            raise Broken(f"HTTP {answer.status}", retry_after=retry.retry_after(answer.headers))
        coding = answer.headers.get("content-encoding", "identity").lower()
        if coding not in ("identity", "") and answer.status in (200, 206):
            answer.close()
            raise SourceFailed("The source sends models compressed.", hint="Tell its operator.")
        if answer.status in (200, 206):
            final = str(answer.hop.url)
            with self._lock:
                self._worked = True
                self._place = final if final != str(urls.parse(self._url)) else ""
        return answer

    def _fields(self, headers: Mapping[str, str], place: str) -> dict[str, str]:
        """The headers of one request; what may be a key stays with the original's origin."""
        if not place or urls.parse(place).origin == urls.parse(self._url).origin:
            return {**self._headers, **headers}
        return {**{k: v for k, v in self._headers.items() if k.lower() in HARMLESS}, **headers}


def validator(answer: Answer) -> str:
    """What names the version of a file: a strong ETag, else Last-Modified, else ""."""
    etag = answer.headers.get("etag", "").strip()
    if etag.startswith('"'):
        return etag
    return answer.headers.get("last-modified", "").strip()


def refused(answer: Answer) -> InhouseError:
    """An answer that another try does not mend."""
    hint = {
        401: "It needs a token, or another one.",
        403: "It needs a token, a licence to accept, or it does not let this machine in.",
        404: "Check the name.",
        410: "Check the name.",
    }.get(answer.status, "Check the address.")
    return SourceFailed(
        f"The source refused the file (HTTP {answer.status}).", hint=hint, detail=answer.hop.url.bare
    )


def _span(answer: Answer) -> tuple[int, int, int] | None:
    """First byte, last byte + 1 and size of the whole, where a 206 tells a sensible range."""
    match = _SPAN.match(answer.headers.get("content-range", "")) if answer.status == 206 else None
    if not match:
        return None
    start, end, size = int(match[1]), int(match[2]) + 1, int(match[3])
    return (start, end, size) if start < end <= size and answer.length in (None, end - start) else None
