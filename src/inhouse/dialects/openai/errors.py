"""Errors in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}`` and a fitting status."""

from __future__ import annotations

from typing import Any

from ...core import errors as e
from ..codec import ErrorAnswer
from ..wire import dumps, error_headers, explain, nearest

# status, type, code (None: the error's own)
_TABLE: dict[type[e.InhouseError], tuple[int, str, str | None]] = {
    e.InhouseError: (500, "server_error", None),
    e.BadRequest: (400, "invalid_request_error", None),
    e.BodyTooLarge: (413, "invalid_request_error", None),
    e.Unauthorized: (401, "invalid_request_error", "invalid_api_key"),
    e.Forbidden: (403, "permission_error", None),
    e.NotFound: (404, "invalid_request_error", None),
    e.Conflict: (409, "invalid_request_error", None),
    e.Busy: (429, "rate_limit_error", "rate_limit_exceeded"),
    e.OutOfMemory: (503, "server_error", None),
    e.DeadlineExceeded: (503, "server_error", None),
    e.Draining: (503, "server_error", None),
    e.LoadFailed: (503, "server_error", None),
    e.CrashLoop: (503, "server_error", None),
    e.NoSpace: (507, "server_error", None),
    e.SourceFailed: (502, "server_error", None),
    e.Cancelled: (499, "request_cancelled", None),
}


# What is called otherwise here than where the error is made.
_NAMES = {"think": "reasoning_effort"}


def error_body(error: e.InhouseError) -> dict[str, Any]:
    """The error object, for an answer of its own or for the end of a stream."""
    _, kind, code = nearest(error, _TABLE)
    return {
        "error": {
            "message": explain(error),
            "type": kind,
            "param": _NAMES.get(error.param or "", error.param),
            "code": code or error.code,
        }
    }


def render_error(error: e.InhouseError) -> ErrorAnswer:
    """The answer when nothing was sent yet.

    Waiting too long is 503, as all that trying again may mend; whatever is Busy says when to try.
    """
    status = nearest(error, _TABLE)[0]
    return ErrorAnswer(status, dumps(error_body(error)), error_headers(error))
