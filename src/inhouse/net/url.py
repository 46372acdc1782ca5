"""One reading of a URL, used for the check of an address and for the fetch alike."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

from ..core.errors import BadRequest

PORTS: Final = {"http": 80, "https": 443}
LENGTH: Final = 8192
_BAD = re.compile(r"[\x00-\x20\x7f\\]|[\u0080-\u00a0\u2028\u2029\ufeff]")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?\Z")
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)\Z")


@dataclass(frozen=True, slots=True)
class Url:
    """An http or https URL without user, password and fragment.

    ``host`` is lower case ASCII; numeric forms (decimal, octal, hex) are already dotted, IPv6 has no
    brackets. ``target`` is path and query as sent on the wire.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What credentials belong to."""
        return (self.scheme, self.host, self.port)

    @property
    def authority(self) -> str:
        """``host`` or ``host:port`` as in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def literal(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The address, when the host is one."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def bare(self) -> str:
        """Without the query, which may hold a signature."""
        return f"{self.scheme}://{self.authority}{self.target.partition('?')[0]}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"

    def join(self, location: str) -> Url:
        """Where a redirect from here leads. Raises BadRequest."""
        _clean(location)
        try:
            joined = urljoin(str(self), location)
        except ValueError as error:
            raise _bad("cannot be read") from error
        return parse(joined)


def parse(text: str) -> Url:
    """Read a URL. Raises BadRequest; the message does not repeat it, it may hold a secret."""
    _clean(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _bad("cannot be read") from error
    scheme = parts.scheme.lower()
    if scheme not in PORTS:
        raise _bad("is neither http nor https")
    if "@" in parts.netloc:
        raise _bad("holds a user name or password")
    if port == 0:
        raise _bad("has no usable port")
    target = quote(parts.path or "/", safe="%/:@!$&'()*+,;=~-._")
    if not target.startswith("/"):
        raise _bad("cannot be read")
    if parts.query:
        target += "?" + quote(parts.query, safe="%/?:@!$&'()*+,;=~-._[]|^`{}\"<>")
    return Url(scheme, _host(parts.hostname or ""), port or PORTS[scheme], target)


def _clean(text: str) -> None:
    if len(text) > LENGTH:
        raise _bad("is too long")
    if _BAD.search(text):
        raise _bad("holds white space, control characters or a backslash")


def _host(text: str) -> str:
    if ":" in text:
        try:
            return str(ipaddress.IPv6Address(text if "%" not in text else ""))
        except ValueError as error:
            raise _bad("has no usable host") from error
    try:
        host = (text if text.isascii() else text.encode("idna").decode("ascii")).lower().removesuffix(".")
    except UnicodeError as error:
        raise _bad("has no usable host") from error
    if not _HOST.match(host) or ".." in host:
        raise _bad("has no usable host")
    if _NUMERIC.match(host.rpartition(".")[2]):
        try:  # 127.1, 2130706433, 0x7f.0.0.1 and 0177.0.0.1 are what the C library makes of them
            return socket.inet_ntoa(socket.inet_aton(host))
        except OSError as error:
            raise _bad("has no usable host") from error
    return host


def _bad(why: str) -> BadRequest:
    return BadRequest(f"The URL {why}.", hint="It looks like https://host/folder/file.gguf.", param="model")
