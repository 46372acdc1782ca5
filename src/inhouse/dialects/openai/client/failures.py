"""Refusals and failures of servers that speak OpenAI's wire, in the words of our error tree.

Their messages may quote the prompt or a path, so none is passed on: known ones are recognised and said
anew, the raw text goes to ``detail``.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from ....core.errors import (
    BadRequest,
    BodyTooLarge,
    Busy,
    ContextExceeded,
    EngineError,
    InhouseError,
    NotFound,
)

_LIMIT: Final = (
    re.compile(r"maximum context length is (?:only )?(\d+)", re.IGNORECASE),
    re.compile(r"context length \((\d+)", re.IGNORECASE),
    re.compile(r"maximum allowed length \((\d+)", re.IGNORECASE),
)
"""How OpenAI and vLLM (the first) and SGLang (the others) name the longest context."""

_ASKED: Final = (
    re.compile(r"(\d+) (?:tokens )?in (?:the messages|your prompt|the prompt)", re.IGNORECASE),
    re.compile(r"(?:has|contains at least|resulted in|requested) (\d+) (?:input )?tokens", re.IGNORECASE),
    re.compile(r"input (?:length )?\((\d+)", re.IGNORECASE),
)
_TOO_LONG: Final = re.compile(
    r"context length|longer than the maximum model length|exceeds the maximum allowed length", re.IGNORECASE
)
_TEMPLATE: Final = re.compile(r"template", re.IGNORECASE)


def from_answer(status: int, body: bytes, *, param: str, retry_after: float | None = None) -> InhouseError:
    """The error of an HTTP answer that is not 200; ``retry_after`` in seconds, where it named any."""
    try:
        parsed = msgspec.json.decode(body)
    except msgspec.DecodeError:
        parsed = None
    error = (parsed.get("error") or parsed) if isinstance(parsed, dict) else None
    if error is None:
        error = body[:2000].decode("utf-8", "replace")
    return from_error(error, status=status, param=param, retry_after=retry_after)


def from_error(error: Any, *, param: str, status: int = 0, retry_after: float | None = None) -> InhouseError:
    """The error of an ``error`` object, in an answer or amid a stream (then without a status)."""
    fields = error if isinstance(error, dict) else {"message": str(error)}
    raw = str(fields.get("message") or fields.get("detail") or "")[:4000]
    code = fields.get("code")
    status = status or (code if isinstance(code, int) and 400 <= code < 600 else 500)
    if code == "context_length_exceeded" or (status < 500 and _TOO_LONG.search(raw)):
        return _too_long(raw, param)
    named = fields.get("param")
    if status in (401, 403):
        return EngineError("The engine did not accept our key.", hint="Check how it is started.", detail=raw)
    if status == 404:
        return NotFound(
            "The engine has no such model or route.", hint="Check what it takes.", param="model", detail=raw
        )
    if status == 413:
        return BodyTooLarge("The request is too large for the engine.", hint="Send less at once.", detail=raw)
    if status in (429, 503):
        return Busy("The engine is busy.", hint="Try again.", retry_after=retry_after, detail=raw)
    if 400 <= status < 500:
        if _TEMPLATE.search(raw):
            return BadRequest(
                "The model's chat template refuses this conversation.",
                hint="Check the order and the roles of the messages.",
                param="messages",
                detail=raw,
            )
        field = named if isinstance(named, str) and re.fullmatch(r"[\w.\[\]-]{1,80}", named) else param
        return BadRequest(
            "The engine refused the request.",
            hint="Check the parameters of the request; the log has the details.",
            param=field,
            detail=raw,
        )
    return EngineError("The engine failed at this request.", hint="Try again.", detail=raw)


def _too_long(raw: str, param: str) -> ContextExceeded:
    error = ContextExceeded(_first(_ASKED, raw), _first(_LIMIT, raw), param=param)
    if not error.prompt_tokens or not error.context_length:
        error.message = "The prompt is longer than the model's context."
    error.detail = raw
    return error


def _first(patterns: tuple[re.Pattern[str], ...], text: str) -> int:
    found = next((match for match in (pattern.search(text) for pattern in patterns) if match), None)
    return int(found[1]) if found else 0
