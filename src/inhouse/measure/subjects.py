"""What may be measured: a model loaded in another way beside itself, or a server on this machine. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
from contextlib import suppress
from urllib.parse import urlsplit

from ..core.errors import BadRequest
from ..core.models import Card, Tuning


def copy_of(card: Card, key: str, tuning: Tuning) -> Card:
    """The same model as another one that is loaded as ``tuning`` says: both can be loaded at once."""
    digest = hashlib.sha256(f"{card.digest} {key}".encode()).hexdigest()
    name = dataclasses.replace(card.name, tag=f"{card.name.tag[:64]}.{key}"[:128])
    return dataclasses.replace(card, digest=digest, name=name, tuning=tuning, alias_of="")


def local(url: str) -> str:
    """``host:port`` of an http URL on this machine. Raises BadRequest for any other."""
    with suppress(ValueError):
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
        if parts.scheme == "http" and loopback and parts.path.rstrip("/") in ("", "/v1"):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    raise BadRequest(
        "only a server on this machine can be measured: an URL like http://127.0.0.1:8080",
        hint="Or name a build; see: inhouse engine list",
        param="against",
    )


__all__ = ["copy_of", "local"]
