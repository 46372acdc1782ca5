"""Answers over raw ASGI. Everything that starts a response goes through ``start``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..core.requests import Caller
from ..dialects.codec import ErrorAnswer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

JSON = "application/json"


@dataclass(slots=True)
class Info:
    """What the guard learned of one request; kept in ``scope["inhouse"]``."""

    caller: Caller
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    status: int = 0
    outcome: str = ""


_OPENAI = ("/v1", "/v2", "/rerank", "/score", "/tokenize", "/detokenize", "/apply-template")
"""Paths of OpenAI's API, and of others whose errors have its shape."""
_ANTHROPIC = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class HttpError(Exception):
    """A refusal of the HTTP layer itself, before any dialect is known."""

    def __init__(self, status: int, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = tuple(headers)


async def start(scope: Scope, send: Send, status: int, media_type: str, headers: Headers = ()) -> None:
    """Send the head of the answer, with the request id and CORS headers the guard chose."""
    info: Info = scope["inhouse"]
    info.status = status
    head = [(b"content-type", media_type.encode()), *info.headers, *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})


async def whole(
    scope: Scope, send: Send, body: bytes, *, status: int = 200, media_type: str = JSON, headers: Headers = ()
) -> None:
    """Send a whole answer."""
    length = (b"content-length", str(len(body)).encode())
    await start(scope, send, status, media_type, [length, *headers])
    await send({"type": "http.response.body", "body": body})


async def json(scope: Scope, send: Send, value: object, *, status: int = 200) -> None:
    """Send a JSON document."""
    await whole(scope, send, msgspec.json.encode(value), status=status)


async def error(scope: Scope, send: Send, answer: ErrorAnswer) -> None:
    """Send a dialect's error."""
    headers = [(k.encode(), v.encode()) for k, v in answer.headers]
    info: Info = scope["inhouse"]
    # Codecs know no ids; Anthropic's errors have a place for one.
    named = b'"request_id":"%b"' % info.caller.request_id.encode()
    body = answer.body.replace(b'"request_id":null', named, 1)
    await whole(scope, send, body, status=answer.status, headers=headers)


async def refuse(scope: Scope, send: Send, refusal: HttpError) -> None:
    """Send a refusal of the HTTP layer in the shape of the API the path belongs to."""
    if scope["path"].startswith("/v1/messages") or header(scope, b"anthropic-version"):
        kind = _ANTHROPIC.get(
            refusal.status, "invalid_request_error" if refusal.status < 500 else "api_error"
        )
        info: Info = scope["inhouse"]
        body: object = {
            "type": "error",
            "error": {"type": kind, "message": refusal.message},
            "request_id": info.caller.request_id,
        }
    elif scope["path"].startswith(_OPENAI):
        kind = "invalid_request_error" if refusal.status < 500 else "server_error"
        body = {
            "error": {"message": refusal.message, "type": kind, "param": None, "code": None},
        }
    else:
        body = {"error": refusal.message}
    data = msgspec.json.encode(body)
    await whole(scope, send, data, status=refusal.status, headers=refusal.headers)


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


async def body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Read the request body. Raises HttpError 413 before more than ``limit`` bytes are held,
    415 for a compressed body, and ConnectionError when the client left before the end."""
    if (header(scope, b"content-encoding") or "identity") != "identity":
        raise HttpError(415, "A compressed request body is not accepted.")
    too_large = HttpError(413, f"The request body is larger than {limit} bytes.", [(b"connection", b"close")])
    if int(header(scope, b"content-length") or 0) > limit:
        raise too_large
    parts, held = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client left")
        part = message.get("body", b"")
        held += len(part)
        if held > limit:
            raise too_large
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
