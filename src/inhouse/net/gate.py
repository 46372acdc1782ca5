"""Which addresses may be asked: decided once a hop, and the connection goes to what was decided on."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from ..core.errors import BadRequest, Forbidden, SourceFailed, Unsupported
from . import url as urls
from .url import Url
from .watch import Watch

RESOLVE_TIMEOUT: Final = 15.0
SLICE: Final = 0.1

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_UNICAST = ipaddress.IPv6Network("2000::/3")
_SPECIAL: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "168.63.129.16/32",  # a cloud's own service inside each of its machines
        "192.0.0.0/24",  # protocol assignments; a cloud's metadata among them
        "3fff::/20",  # documentation, younger than some address libraries
    )
)
"""Not of the open Internet, though the registry or an old library calls them global."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; ``secret`` is what its Proxy-Authorization says ("" if nothing)."""

    url: Url
    secret: str


@dataclass(frozen=True, slots=True)
class Hop:
    """One admitted request: connect to one of ``addresses`` (or through ``proxy``) and nowhere else.

    ``private``: at least one address is not public.
    """

    url: Url
    addresses: tuple[str, ...]
    proxy: Proxy | None
    private: bool


def is_public(address: Address) -> bool:
    """Whether an address is one of the open Internet; addresses that wrap another count as both."""
    if isinstance(address, ipaddress.IPv6Address):
        if mapped := address.ipv4_mapped:
            return is_public(mapped)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        wrapped = [address.sixtofour, *(address.teredo or ())]
        if address not in _UNICAST or not all(is_public(one) for one in wrapped if one):
            return False
    # a look into a network of the other version is false
    return address.is_global and not address.is_multicast and not any(address in net for net in _SPECIAL)


def matches(url: Url, patterns: Iterable[str]) -> bool:
    """Whether ``host`` or ``host:port`` fits one of the patterns, in which only ``*`` is special."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    texts = (url.host, host, f"{host}:{url.port}")
    for pattern in patterns:
        regex = re.escape(pattern.strip().lower()).replace(r"\*", ".*")
        if any(re.fullmatch(regex, text) for text in texts):
            return True
    return False


class Gate:
    """The policy of one pull. ``own_hosts`` were set by the operator: private and plain HTTP are fine."""

    def __init__(self, watch: Watch, own_hosts: Iterable[str] = ()) -> None:
        self._watch = watch
        self._own = tuple(own_hosts)

    def admit(self, url: Url, before: Hop | None = None) -> Hop:
        """Check a URL, ``before`` being the hop that redirected to it.

        What the user of this machine may reach himself, a public server may not send him to: its
        redirects get into private networks only where the host is allowed by name.
        Raises Forbidden, SourceFailed (no such host), Unsupported (kind of proxy).
        """
        if before and before.url.scheme == "https" and url.scheme == "http":
            raise Forbidden(
                "The source redirects from HTTPS to plain HTTP, which is refused.",
                hint="Ask the source for an HTTPS address.",
                detail=f"{before.url.bare} -> {url.bare}",
            )
        own = matches(url, self._own)
        proxy = proxy_for(url)
        addresses = self._addresses(url, proxy)
        private = not all(is_public(address) for address in addresses)
        trusted = self._watch.trusted and (before is None or before.private)
        if private and not (own or trusted or matches(url, self._watch.policy.hosts)):
            raise Forbidden(
                "The address of this source is not allowed.",
                hint="The operator can allow its host with INHOUSE_PULL_HOSTS.",
                detail=url.bare,
            )
        local = bool(addresses) and all(address.is_loopback for address in addresses)
        if url.scheme == "http" and not (own or local or self._watch.insecure):
            raise Forbidden(
                "Plain HTTP is refused: whoever is on the way could change the model.",
                hint="Use https://, or accept it with --insecure.",
                detail=url.bare,
            )
        return Hop(url, tuple(str(address) for address in addresses), proxy, private)

    def _addresses(self, url: Url, proxy: Proxy | None) -> list[Address]:
        if literal := url.literal:
            return [literal]
        return [] if proxy else resolve(url, self._watch.check)


def resolve(url: Url, check: Callable[[], None]) -> list[Address]:
    """All addresses of a host name, asked once. Raises SourceFailed, or what ``check`` raises."""
    found: list[Address] = []
    failed: list[Exception] = []

    def ask() -> None:
        try:
            for *_, place in socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM):
                address = ipaddress.ip_address(str(place[0]).partition("%")[0])
                found.append(address) if address not in found else None
        except (OSError, ValueError) as error:  # ValueError: a label that is too long
            failed.append(error)

    check()
    # the C library's resolver cannot be interrupted, hence a thread that may be left behind
    thread = threading.Thread(target=ask, name="resolve", daemon=True)
    thread.start()
    deadline = time.monotonic() + RESOLVE_TIMEOUT
    while thread.is_alive() and time.monotonic() < deadline:
        check()
        thread.join(SLICE)
    if thread.is_alive() or failed or not found:
        raise SourceFailed(
            "The host of this source was not found.",
            hint="Check its name and this machine's network.",
            detail=f"{url.host}: {failed[0] if failed else 'no answer'}",
        )
    return found


def proxy_for(url: Url) -> Proxy | None:
    """The proxy that the environment names for a URL; loopback never has one. Raises Unsupported."""
    literal = url.literal
    if url.host == "localhost" or url.host.endswith(".localhost") or (literal and literal.is_loopback):
        return None
    text = urllib.request.getproxies().get(url.scheme, "")
    if not text or urllib.request.proxy_bypass(f"{url.host}:{url.port}"):
        return None
    scheme, mark, rest = text.partition("://")
    secret, at, place = (rest if mark else text).rpartition("@")
    if mark and scheme.lower() != "http":
        raise Unsupported(
            "Only HTTP proxies can be used for models.", hint="Set HTTPS_PROXY to an http:// address."
        )
    try:
        return Proxy(urls.parse(f"http://{place}"), secret if at else "")
    except BadRequest as error:
        raise SourceFailed("The proxy's address cannot be read.", hint="Check HTTPS_PROXY.") from error
