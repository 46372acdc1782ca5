"""One address, asked once: within a size, within a time, and given up as soon as nobody waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..core.errors import BadRequest, BodyTooLarge, Cancelled, InhouseError
from ..net.hops import follow
from ..net.line import Broken
from ..net.wire import Answer, Request, Wire
from .gate import Gate, Hosts

CHUNK: Final = 2**16
ACCEPT: Final = "image/png, image/jpeg, image/webp, text/*, application/json, */*;q=0.1"


class Late(Exception):
    """The time for one fetch is over."""


class TooMuch(Exception):
    """More bytes came than are wanted."""


@dataclass(frozen=True, slots=True)
class Body:
    """``kind``: the media type that was declared, without parameters, "" if none was."""

    data: bytes
    kind: str
    charset: str


class Budget:
    """How many bytes a request's fetches may bring in all. Thread-safe."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Raises TooMuch."""
        with self._lock:
            self._left -= count
            if self._left < 0:
                raise TooMuch


class Fetcher:
    """Fetches. Blocking, thread-safe. ``size`` in bytes, ``timeout`` in seconds, both for one address."""

    def __init__(self, hosts: Hosts, size: int, timeout: float) -> None:
        self._hosts, self._size, self._timeout = hosts, size, timeout
        self._wire = Wire(2 * timeout)  # the deadline of a fetch comes first

    def close(self) -> None:
        """End idle connections."""
        self._wire.close()

    def fetch(self, url: str, param: str, stopped: threading.Event, budget: Budget) -> Body:
        """The body behind a URL. ``param`` is the field that named it.

        Raises BadRequest, BodyTooLarge (both with ``param``) and, once ``stopped`` is set, Cancelled.
        """
        deadline = time.monotonic() + self._timeout

        def check() -> None:
            if stopped.is_set():
                raise Cancelled("The caller left.")
            if time.monotonic() > deadline:
                raise Late

        request = Request("GET", url, {"Accept": ACCEPT})
        try:
            answer = follow(Gate(self._hosts, check), self._wire, request, check)
            try:
                return self._read(answer, check, budget)
            finally:
                answer.close()
        except Late as error:
            raise failed(param, f"it took longer than {self._timeout:g} s") from error
        except TooMuch as error:
            raise BodyTooLarge(
                f"What '{param}' names is too large.",
                hint=f"At most {self._size} bytes are fetched from one address, and a few times that"
                " for one request.",
                param=param,
            ) from error
        except _Unfit as error:
            raise failed(param, str(error)) from error
        except Broken as error:
            raise failed(param, "", str(error)) from error
        except Cancelled:
            raise
        except InhouseError as error:  # which of the rules refused it is not for strangers
            raise failed(param, "", f"{error.message} {error.detail}") from error

    def _read(self, answer: Answer, check: Callable[[], None], budget: Budget) -> Body:
        if answer.status != 200:
            raise _Unfit(f"HTTP {answer.status}")
        if answer.headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
            raise _Unfit("it came compressed, which nobody asked for")
        if answer.length is not None and answer.length > self._size:
            raise TooMuch
        view, data = memoryview(bytearray(CHUNK)), bytearray()
        while count := answer.readinto(view):
            check()
            budget.take(count)
            if len(data) + count > self._size:
                raise TooMuch
            data += view[:count]
        return Body(bytes(data), *declared(answer.headers.get("content-type", "")))


class _Unfit(Exception):
    """An answer that is of no use."""


def failed(param: str, why: str, detail: str = "") -> BadRequest:
    """An address that gave nothing usable is the caller's to mend, whoever is to blame."""
    return BadRequest(
        f"What '{param}' names could not be fetched{f': {why}' if why else ''}.",
        hint="Send the content itself, or an address that this server may fetch from and that answers.",
        param=param,
        detail=detail,
    )


def declared(text: str) -> tuple[str, str]:
    """The media type and the charset of a Content-Type."""
    kind, *options = text.lower().split(";")
    for option in options:
        name, _, value = option.partition("=")
        if name.strip() == "charset":
            return kind.strip(), value.strip().strip("\"'")
    return kind.strip(), ""
