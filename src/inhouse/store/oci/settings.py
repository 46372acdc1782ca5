"""What the environment says of registries; the one place that reads it.

INHOUSE_OLLAMA_REGISTRY   URL of a mirror that is asked instead of Ollama's registry
INHOUSE_REGISTRY_TOKEN    ``host=token[,host=token]``: bearer tokens, sent to exactly these hosts
INHOUSE_REGISTRY_REALMS   ``host=realm host[,…]``: registries whose token service is another machine
DOCKER_CONFIG             folder of docker's config.json, whose logins are used; helpers are not run
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ...core.errors import BadRequest
from . import names

MIRROR: Final = "INHOUSE_OLLAMA_REGISTRY"
TOKENS: Final = "INHOUSE_REGISTRY_TOKEN"
REALMS: Final = "INHOUSE_REGISTRY_REALMS"
_CONFIG_CEILING: Final = 2**20
_DOCKER_REQUESTS: Final = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Settings:
    """``mirror``: base URL without a slash at its end, "" for none. ``tokens``, ``realms``: by host
    (``host[:port]``, lower case). ``docker``: the path of docker's config.json. ``environ``, ``home``:
    where other programs' stores are looked for. ``pause``: the first back-off in seconds."""

    mirror: str = ""
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    realms: Mapping[str, str] = field(default_factory=dict)
    docker: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    home: Path = field(default_factory=Path.home)
    pause: float = 0.5

    @property
    def own_hosts(self) -> tuple[str, ...]:
        """Hosts that the operator himself named: they may be private and speak plain HTTP."""
        return (urlsplit(self.mirror).netloc.lower(),) if self.mirror else ()

    def login(self, host: str) -> tuple[str, str] | None:
        """User and password that docker keeps for a registry in its file, None if it has none."""
        wanted = names.DOCKER_HOST if host == _DOCKER_REQUESTS else host
        for key, entry in _auths(self.docker).items():
            if _docker_host(key) == wanted and isinstance(entry, dict) and (pair := _pair(entry)):
                return pair
        return None


def read(environ: Mapping[str, str] | None = None, home: Path | None = None) -> Settings:
    """The settings of an environment, by default this process's. Raises BadRequest."""
    env = os.environ if environ is None else environ
    home = home or Path.home()
    folder = env.get("DOCKER_CONFIG")
    docker = Path(folder) if folder else home / ".docker"
    mirror = env.get(MIRROR, "").strip().rstrip("/")
    url = urlsplit(mirror)
    if mirror and (url.scheme not in ("http", "https") or not url.hostname or url.username or url.query):
        raise BadRequest(f"{MIRROR} is not a URL of a registry.", hint="Write https://host[:port].")
    return Settings(
        mirror, _by_host(env, TOKENS), _by_host(env, REALMS), docker / "config.json", dict(env), home
    )


def _by_host(environ: Mapping[str, str], key: str) -> dict[str, str]:
    out = {}
    for item in environ.get(key, "").split(","):
        host, equals, value = item.strip().partition("=")
        if item.strip() and not (host and equals and value):
            raise BadRequest(f"{key} is not a list of host=value.", hint="Write host=value[,host=value].")
        if host:
            out[_DOCKER_REQUESTS if _docker_host(host) == names.DOCKER_HOST else host.lower()] = value
    return out


def _auths(path: Path | None) -> dict[str, Any]:
    """The logins of docker's file; a missing or broken file has none."""
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(_CONFIG_CEILING))
    except (OSError, ValueError, RecursionError):
        return {}
    auths = data.get("auths") if isinstance(data, dict) else None
    return auths if isinstance(auths, dict) else {}


def _docker_host(key: str) -> str:
    """The host of a key like ``ghcr.io`` or ``https://index.docker.io/v1/``."""
    host = key.partition("://")[2] or key
    host = host.partition("/")[0].lower()
    return names.DOCKER_HOST if host in ("index.docker.io", _DOCKER_REQUESTS) else host


def _pair(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    try:
        text = base64.b64decode(entry.get("auth") or "", validate=True).decode()
    except (binascii.Error, ValueError, TypeError):
        return None
    user, colon, password = text.partition(":")
    return (user, password) if colon and user else None
