"""Who may see what in a registry: challenges, tokens and logins.

A registry that answers 401 names a token service (the realm). A token is asked for there without a
login first, for a push or when that is not enough with the login that docker keeps. Logins and tokens
go to the registry's own machine, or to a realm known to be its own, and nowhere else.
Protocol: https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlencode, urlsplit

from ...core.errors import SourceFailed
from ...net import Reply
from . import texts
from .settings import Settings

Action = Literal["pull", "pull,push"]

REALMS: Final[Mapping[str, str]] = {
    "registry-1.docker.io": "auth.docker.io",
    "registry.gitlab.com": "gitlab.com",
    "registry.redhat.io": "sso.redhat.com",
}
"""Registries whose token service is another machine of the same house."""

TOKEN_CEILING: Final = 2**18
LIFE: Final = 60.0
"""Seconds that a token lives when its service does not say."""
MARGIN: Final = 10.0
PUBLIC_LIFE: Final = 300.0
_CHALLENGE: Final = re.compile(r"(?:^|,)\s*(Bearer|Basic)(?=\s|,|\Z)", re.IGNORECASE)
_HEADER: Final = 8192
_FIELD: Final = re.compile(
    r'(?<![A-Za-z_])([A-Za-z_]{1,32})=(?:"((?:[^"\\]|\\.){0,4000})"|([^\s",]{1,4000}))'
)
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,65536}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a 401 asks for. ``scheme`` is bearer, basic or "" (nothing that is known here)."""

    scheme: str = ""
    realm: str = ""
    service: str = ""
    scope: str = ""


def challenge(header: str) -> Challenge:
    """A ``WWW-Authenticate`` header; Bearer goes before Basic."""
    header = header[:_HEADER]
    marks = list(_CHALLENGE.finditer(header))
    ends = [*(mark.start() for mark in marks[1:]), len(header)]
    found: dict[str, Challenge] = {}
    for mark, end in zip(marks, ends, strict=False):
        pairs = {m[1].lower(): m[2] or m[3] or "" for m in _FIELD.finditer(header[mark.end() : end])}
        scheme = mark[1].lower()
        got = Challenge(scheme, pairs.get("realm", ""), pairs.get("service", ""), pairs.get("scope", ""))
        found.setdefault(scheme, got)
    return found.get("bearer") or found.get("basic") or Challenge()


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL; ("", "", 0) when it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return ("", "", 0)
    return (parts.scheme, (parts.hostname or "").lower(), port)


@dataclass(slots=True)
class Keys:
    """Authorization headers that worked, in memory, until they expire. Thread-safe."""

    _kept: dict[tuple[str, str, Action], tuple[str, float]] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def get(self, base: str, repository: str, action: Action) -> str | None:
        """The header's value; "" where none was needed, None if nothing (valid) is known."""
        with self._lock:
            value, until = self._kept.get((base, repository, action), ("", 0.0))
        return value if time.monotonic() < until else None

    def put(self, base: str, repository: str, action: Action, value: str, life: float) -> None:
        with self._lock:
            self._kept[(base, repository, action)] = (value, time.monotonic() + life)


class Access:
    """The way into one repository. ``base`` is the registry's URL, ``ask`` sends a GET.

    ``private``: nobody on the way can read along, so that the operator's secrets may be sent.
    """

    def __init__(
        self,
        base: str,
        repository: str,
        action: Action,
        settings: Settings,
        ask: Callable[[str, Mapping[str, str]], Reply],
        *,
        private: bool,
    ) -> None:
        self._base = base
        self._repository = repository
        self._action = action
        self._ask = ask
        self._host = urlsplit(base).netloc.lower()
        self._realm = settings.realms.get(self._host, "")
        self._login = settings.login(self._host) if private else None
        token = settings.tokens.get(self._host, "") if private else ""
        self.given = f"Bearer {token}" if token else ""
        """The header that the operator set for this registry, "" if none."""

    def answers(self, reply: Reply) -> Iterator[tuple[str, float]]:
        """Headers that may satisfy a 401, with the seconds they live. Raises SourceFailed."""
        if origin(reply.url) != origin(self._base):
            return
        asked = challenge(reply.headers.get("www-authenticate", ""))
        login = self._login
        if asked.scheme == "basic" and login:
            yield _basic(login), PUBLIC_LIFE
        elif asked.scheme == "bearer":
            self._check(asked.realm)
            tries = [None, login] if self._action == "pull" else [login, None]
            for one in dict.fromkeys(tries):
                if found := self._token(asked, one):
                    yield f"Bearer {found[0]}", found[1]

    def _check(self, realm: str) -> None:
        """The realm must be the registry's own. Raises SourceFailed."""
        scheme, host, port = origin(realm)  # none for what is no URL, which fits no registry
        own_scheme, own_host, own_port = origin(self._base)
        named = self._realm or REALMS.get(own_host, "")
        own = (host, port) == (own_host, own_port)
        if "@" in realm.partition("?")[0] or not (
            own or (named and origin(f"https://{named}")[1:] == (host, port))
        ):
            raise SourceFailed(
                "The registry asked to send credentials elsewhere, which is refused.",
                hint="If that machine is trusted, name it in INHOUSE_REGISTRY_REALMS.",
                detail=f"realm of {self._host}: {realm[:200]}",
            )
        if scheme != "https" and not (scheme == "http" and own_scheme == "http"):
            raise SourceFailed(
                "The registry asked to send credentials over plain HTTP, which is refused.",
                hint="Tell its operator.",
                detail=f"realm of {self._host}: {realm[:200]}",
            )

    def _token(self, asked: Challenge, login: tuple[str, str] | None) -> tuple[str, float] | None:
        """A token and its life; None when the service does not give one to this user."""
        scope = asked.scope or f"repository:{self._repository}:{self._action}"
        query = urlencode([("service", asked.service), *(("scope", one) for one in scope.split())])
        url = f"{asked.realm}{'&' if urlsplit(asked.realm).query else '?'}{query}"
        reply = self._ask(url, {"Authorization": _basic(login)} if login else {})
        if reply.status in (400, 401, 403, 404):
            return None
        if reply.status != 200:
            raise SourceFailed(
                f"The registry's token service answers HTTP {reply.status}.", hint="Try again later."
            )
        data: Any = texts.document(reply.body, "the token")
        token = (data.get("token") or data.get("access_token")) if isinstance(data, dict) else None
        if not isinstance(token, str) or not _TOKEN.match(token):
            raise SourceFailed("The registry's token service gave no token.", hint="Try again later.")
        life = data.get("expires_in")
        known = isinstance(life, int | float) and not isinstance(life, bool) and 0 < life < 1e7
        return token, max(float(life if known else LIFE) - MARGIN, MARGIN)


def _basic(login: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(login).encode()).decode()
