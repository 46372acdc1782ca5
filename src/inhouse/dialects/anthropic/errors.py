"""Errors in Anthropic's shape: ``{"type": "error", "error": {"type", "message"}, "request_id"}``.

A message begins with the path of the field at fault, written as ``messages.0.content.1``. The id of a
request travels in the header; ``request_id`` in the body is null.
"""

from __future__ import annotations

import re
from typing import Any

from ...core import errors as e
from ..codec import ErrorAnswer
from ..wire import dumps, error_headers, explain, nearest

_INVALID = "invalid_request_error"
_TABLE: dict[type[e.InhouseError], tuple[int, str]] = {
    e.InhouseError: (500, "api_error"),
    e.BadRequest: (400, _INVALID),
    e.BodyTooLarge: (413, "request_too_large"),
    e.Unauthorized: (401, "authentication_error"),
    e.Forbidden: (403, "permission_error"),
    e.NotFound: (404, "not_found_error"),
    e.Conflict: (409, _INVALID),
    e.Busy: (529, "overloaded_error"),
    e.RateLimited: (429, "rate_limit_error"),
    e.DeadlineExceeded: (504, "timeout_error"),
    e.CrashLoop: (529, "overloaded_error"),
    e.NoSpace: (507, "api_error"),
    e.SourceFailed: (502, "api_error"),
    e.Cancelled: (499, "api_error"),
}
_NAMES = {"think": "thinking", "response_format": "output_config.format", "stop": "stop_sequences"}
"""What other rooms call a field, and what it is called here."""
_DETAILS = {"thread": "thread_unsupported_request"}
"""Codes by which official clients know that they must do without: then they send the whole conversation."""
_PLACE = re.compile(r"\[(\d+)\]")


def _message(error: e.InhouseError) -> str:
    """The text; programs look for the words about a prompt that is too long."""
    if isinstance(error, e.ContextExceeded):
        return f"prompt is too long: {error.prompt_tokens} tokens > {error.context_length} maximum"
    text, param = explain(error), error.param
    if not param or not isinstance(error, e.BadRequest | e.NotFound):
        return text
    name = _NAMES.get(param, param)
    shown = _PLACE.sub(r".\1", name)
    text = text.replace(f"Missing required field: '{param}'", "Field required")
    text = text.replace(f" for '{param}'", "").replace(f"'{param}'", f"'{shown}'")
    return f"{shown}: {text}"


def error_body(error: e.InhouseError) -> dict[str, Any]:
    """The error object, for an answer of its own or for the end of a stream."""
    told: dict[str, Any] = {"type": nearest(error, _TABLE)[1], "message": _message(error)}
    if isinstance(error, e.Unsupported) and error.param in _DETAILS:
        told["details"] = {"error_code": _DETAILS[error.param]}
    return {"type": "error", "error": told, "request_id": None}


def render_error(error: e.InhouseError) -> ErrorAnswer:
    """The answer when nothing was sent yet. What may go away by itself is 5xx, which clients try again."""
    return ErrorAnswer(nearest(error, _TABLE)[0], dumps(error_body(error)), error_headers(error))
