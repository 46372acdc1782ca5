"""One request through all its redirects, every hop admitted anew (RFC 9110, 15.4)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from ..core.errors import SourceFailed
from . import url as urls
from .gate import Hop
from .line import Broken
from .url import Url
from .wire import HARMLESS, Answer, Request, Wire

REDIRECTS: Final = 5
MOVED: Final = frozenset({301, 302, 303, 307, 308})
KEEPS_BODY: Final = frozenset({307, 308})


class Admits(Protocol):
    """A policy: which addresses may be asked."""

    def admit(self, url: Url, before: Hop | None = None) -> Hop:
        """Check a URL, ``before`` being the hop that redirected to it. Raises errors of ours."""
        ...


def follow(gate: Admits, wire: Wire, request: Request, tick: Callable[[], None]) -> Answer:
    """Ask once, through all redirects; the body is still to be read.

    Raises BadRequest (no usable URL), SourceFailed (too many redirects), Broken, and what ``gate`` and
    ``tick`` raise.
    """
    url = urls.parse(request.url)
    before: Hop | None = None
    for _ in range(REDIRECTS + 1):
        hop = gate.admit(url, before)
        answer = wire.exchange(hop, request, tick)
        location = answer.headers.get("location")
        if answer.status not in MOVED or not location:
            return answer
        _drain(answer)
        url = url.join(location.encode("latin-1", "replace").decode("utf-8", "replace"))
        request = _moved(request, answer.status, url.origin == hop.url.origin)
        before = hop
    raise SourceFailed("The source redirects in circles.", hint="Check the address.", detail=url.bare)


def _moved(request: Request, status: int, same_origin: bool) -> Request:
    """The request that follows a redirect: no key leaves its origin, a body only goes with 307 and 308."""
    headers = {k: v for k, v in request.headers.items() if same_origin or k.lower() in HARMLESS}
    if request.send is None or status in KEEPS_BODY:
        return replace(request, headers=headers)
    headers = {k: v for k, v in headers.items() if not k.lower().startswith("content-")}
    return replace(request, method="GET", headers=headers, send=None)


def _drain(answer: Answer) -> None:
    """Read the short body of a redirect, so that the connection can be used again."""
    with contextlib.suppress(Broken):
        view = memoryview(bytearray(4096))
        for _ in range(4 if answer.length is not None and answer.length <= 4096 else 0):
            if not answer.readinto(view):
                break
    answer.close()
