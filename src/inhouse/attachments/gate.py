"""Which addresses are fetched from: what the operator named, decided once a hop.

Strangers choose these addresses, so everything that is not allowed is refused: a host must fit one of
the operator's patterns, plain HTTP is for hosts named without a star, and an address that is not of
the open Internet for those named exactly, with their port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..core.errors import Forbidden
from ..net.gate import Hop, is_public, matches, resolve
from ..net.url import Url


class Hosts:
    """The operator's patterns: ``host`` or ``host:port``, ``*`` stands for any characters."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._all = tuple(p.strip().lower() for p in patterns if p.strip())
        self._plain = tuple(p for p in self._all if "*" not in p)

    def __bool__(self) -> bool:
        return bool(self._all)

    def allows(self, url: Url) -> bool:
        """Whether a URL may be looked up at all."""
        return matches(url, self._plain if url.scheme == "http" else self._all)

    def names(self, url: Url) -> bool:
        """Whether exactly this host and port was named."""
        host = f"[{url.host}]" if ":" in url.host else url.host
        return f"{host}:{url.port}" in self._plain


class Gate:
    """The policy of one fetch; ``check`` is called during waits, what it raises ends them."""

    def __init__(self, hosts: Hosts, check: Callable[[], None]) -> None:
        self._hosts = hosts
        self._check = check

    def admit(self, url: Url, before: Hop | None = None) -> Hop:
        """See ``net.hops.Admits``. Never a proxy. Raises Forbidden, SourceFailed (no such host)."""
        if before and before.url.scheme == "https" and url.scheme == "http":
            raise _refused("it redirects from HTTPS to plain HTTP", url)
        if not self._hosts.allows(url):
            raise _refused("its host is not allowed", url)
        addresses = [literal] if (literal := url.literal) else resolve(url, self._check)
        private = not all(is_public(address) for address in addresses)
        if private and not self._hosts.names(url):
            raise _refused("its address is not public", url)
        return Hop(url, tuple(str(address) for address in addresses), None, private)


def _refused(why: str, url: Url) -> Forbidden:
    return Forbidden("This address is not fetched from.", detail=f"{why}: {url.bare}")
