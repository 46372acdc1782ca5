"""Keys and tenants: whose request it is, and whether it may come in."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from ..config import Server as Settings
from ..config.keys import ApiKey, api_keys


def tenant_of(secret: str) -> str:
    """What a key, as a header brought it, is known by everywhere else: one key is one tenant."""
    return _tenant(_digest(secret.encode("latin-1", "replace")))


class Keys:
    """The keys that are let in; without any everybody is. Holds digests only."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        digests = [(_digest(key.secret.encode("utf-8", "surrogateescape")), key.name) for key in keys]
        self._digests = [digest for digest, _ in digests]
        self._names = {_tenant(digest): name for digest, name in digests if name}

    @classmethod
    def of(cls, settings: Settings) -> Keys:
        """Those of the settings. Raises BadRequest when their file cannot be read."""
        return cls(api_keys(settings))

    def __bool__(self) -> bool:
        return bool(self._digests)

    def admits(self, secret: str) -> bool:
        """Is it one of them, as a header brought it? Takes as long for every secret."""
        given = _digest(secret.encode("latin-1", "replace"))
        return sum(hmac.compare_digest(given, known) for known in self._digests) > 0

    @property
    def owner(self) -> str:
        """The tenant of the first key, which is the operator's; "" where there is none."""
        return _tenant(self._digests[0]) if self._digests else ""

    def name(self, tenant: str) -> str:
        """What the owner of a key is called, "" where nobody said."""
        return self._names.get(tenant, "")


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _tenant(digest: bytes) -> str:
    return digest.hex()[:16]


__all__ = ["Keys", "tenant_of"]
