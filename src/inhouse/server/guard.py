"""What every request meets first: its id, Host and Origin, the key, the type of its body, the log.

Host rule as Ollama's: on loopback only names of this machine pass, which stops DNS rebinding.
A browser page of a foreign origin gets 403 and no CORS header.
"""

from __future__ import annotations

import contextvars
import dataclasses
import fnmatch
import ipaddress
import logging
import math
import re
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from ..config import Server as Settings
from ..config import duration
from ..core.requests import Caller
from .answers import HttpError, Info, Receive, Scope, Send, header, refuse, whole
from .keys import Keys, tenant_of

log = logging.getLogger("inhouse.access")
request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="-")

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z", re.ASCII)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?\Z", re.ASCII)
_LOCAL_SCHEMES = ("app", "file", "tauri", "vscode-webview", "vscode-file")
_LOCAL_NAMES = ("localhost", "127.0.0.1", "0.0.0.0", "::1")  # noqa: S104
_OPEN = frozenset({"/health"})
_UPLOADS = ("/api/blobs/", "/api/import")
_BINARY = ("application/octet-stream", "application/x-tar")
_FORMS = "/v1/files"  # multipart, as OpenAI's clients send files
_ALLOWED_HEADERS = (
    b"authorization, content-type, user-agent, accept, x-requested-with, x-api-key, x-request-id,"
    b" x-request-timeout,"
    b" anthropic-version, anthropic-beta, anthropic-dangerous-direct-browser-access, openai-beta,"
    b" openai-organization, openai-project, x-stainless-arch, x-stainless-lang, x-stainless-os,"
    b" x-stainless-package-version, x-stainless-runtime, x-stainless-runtime-version,"
    b" x-stainless-retry-count, x-stainless-timeout, x-stainless-async, x-stainless-helper-method,"
    b" x-stainless-poll-helper, x-stainless-custom-poll-interval"
)

Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]


def local_name(host: str) -> bool:
    """Whether a host name can only mean this machine or its own network."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified


class Guard:
    """Wraps the application. ``loopback`` says that the server listens on loopback only; ``keys`` are those
    of the settings."""

    def __init__(
        self,
        app: Endpoint,
        settings: Settings,
        *,
        loopback: bool,
        touch: Callable[[int], None],
        keys: Keys | None = None,
    ) -> None:
        self._app = app
        self._settings = settings
        self._loopback = loopback
        self._touch = touch
        self._keys = Keys.of(settings) if keys is None else keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        asked = header(scope, b"x-request-id") or ""
        rid = asked if _ID.match(asked) else f"req_{secrets.token_hex(10)}"
        info = Info(Caller(rid, self._tenant(scope), "", scope["path"]), [(b"x-request-id", rid.encode())])
        if scope["path"].startswith("/v1/messages"):
            info.headers.append((b"request-id", rid.encode()))  # Anthropic's clients look for this one
        scope["inhouse"] = info
        token = request_id.set(rid)
        began = time.monotonic()
        self._touch(1)
        try:
            await self._guarded(scope, receive, send)
        except HttpError as refusal:
            await refuse(scope, send, refusal)
        except ConnectionError:
            info.outcome = "cancelled"
        except Exception:
            log.exception("unexpected failure on %s %s", scope["method"], _shown(scope["path"]))
            if not info.status:
                await refuse(scope, send, HttpError(500, "Something went wrong inside Inhouse."))
        finally:
            self._touch(-1)
            log.info(
                "%s %s %d %s %.1f ms",
                scope["method"],
                _shown(scope["path"]),
                info.status,
                info.outcome or "-",
                (time.monotonic() - began) * 1000,
            )
            request_id.reset(token)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._check_host(scope)
        origin = header(scope, b"origin")
        if origin is not None:
            self._check_origin(scope, origin)
        if scope["method"] == "OPTIONS":
            await self._preflight(scope, send)
            return
        self._check_key(scope)
        info: Info = scope["inhouse"]
        info.caller = dataclasses.replace(info.caller, deadline=_deadline(scope))
        self._check_type(scope, origin)
        await self._app(scope, receive, send)

    def _tenant(self, scope: Scope) -> str:
        if key := _given(scope):
            return tenant_of(key)
        return scope["client"][0] if scope.get("client") else ""

    def _check_host(self, scope: Scope) -> None:
        hosts = [value.decode("latin-1") for key, value in scope["headers"] if key == b"host"]
        if not hosts and scope["http_version"] == "1.0":
            return
        if len(hosts) != 1 or not _HOST.match(hosts[0]):
            raise HttpError(400, "The Host header is missing or malformed.")
        if not self._loopback:
            return
        name = hosts[0] if hosts[0].startswith("[") else hosts[0].partition(":")[0]
        name = name.partition("]")[0] + "]" if name.startswith("[") else name
        ours = (socket.gethostname().lower(), *self._settings.allowed_hosts)
        if not local_name(name) and name.lower() not in ours:
            raise HttpError(403, "This Host name is not served here; allow it with INHOUSE_ALLOWED_HOSTS.")

    def _check_origin(self, scope: Scope, origin: str) -> None:
        try:
            parts = urlsplit(origin)
            host = parts.hostname or ""
        except ValueError:
            parts, host = urlsplit(""), ""
        allowed = (
            origin in self._settings.origins
            or any(fnmatch.fnmatchcase(origin, pattern) for pattern in self._settings.origins)
            or parts.scheme in _LOCAL_SCHEMES
            or (parts.scheme in ("http", "https") and host in _LOCAL_NAMES)
            or (parts.netloc != "" and parts.netloc == header(scope, b"host"))
        )
        if not allowed:
            raise HttpError(403, "This origin may not call the server; allow it with INHOUSE_ORIGINS.")
        info: Info = scope["inhouse"]
        info.headers += [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"vary", b"origin"),
            (b"access-control-expose-headers", b"x-request-id, request-id, retry-after, x-inhouse-warning"),
        ]

    async def _preflight(self, scope: Scope, send: Send) -> None:
        headers = [
            (b"access-control-allow-methods", b"GET, HEAD, POST, DELETE, OPTIONS"),
            (b"access-control-allow-headers", _ALLOWED_HEADERS),
            (b"access-control-max-age", b"600"),
        ]
        await whole(scope, send, b"", status=204, headers=headers)

    def _check_key(self, scope: Scope) -> None:
        if not self._keys or scope["path"] in _OPEN:
            return
        if not self._keys.admits(_given(scope)):
            raise HttpError(
                401,
                "A valid API key is needed: send it as 'Authorization: Bearer KEY'.",
                [(b"www-authenticate", b'Bearer realm="inhouse"')],
            )

    def _check_type(self, scope: Scope, origin: str | None) -> None:
        """JSON only; what curl sends by default also passes, unless a browser page sent it."""
        if scope["method"] not in ("POST", "PUT", "PATCH", "DELETE"):
            return
        kind = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
        site = header(scope, b"sec-fetch-site")
        from_page = origin is not None or site not in (None, "none", "same-origin")
        if kind in _BINARY and scope["path"].startswith(_UPLOADS):
            return  # no type that a page could send without a preflight
        if kind == "multipart/form-data" and scope["path"] == _FORMS and (origin or not from_page):
            return
        if kind == "application/json" or (
            not from_page and kind in ("", "application/x-www-form-urlencoded")
        ):
            return
        raise HttpError(415, "Send the body as application/json.")


def _given(scope: Scope) -> str:
    """The key that the caller shows, "" if none: what is let in is what is counted, however it is sent."""
    scheme, _, value = (header(scope, b"authorization") or "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else header(scope, b"x-api-key") or ""


def _deadline(scope: Scope) -> float | None:
    """When the caller will have lost interest, by ``time.monotonic``; None where no header says."""
    text = header(scope, b"x-request-timeout")
    if text is None:
        return None
    try:
        seconds = duration(text.strip())
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise HttpError(400, "The header x-request-timeout must be a time above zero like 30, 500ms or 2m.")
    return time.monotonic() + seconds


def _shown(path: str) -> str:
    return path[:200].encode("ascii", "backslashreplace").decode()
