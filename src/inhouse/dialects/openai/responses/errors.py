"""Errors of the Responses API: OpenAI's shape, with the names that fields have here."""

from __future__ import annotations

import dataclasses
from typing import Any

from ....core import errors as e
from ...codec import ErrorAnswer
from ...wire import dumps, explain, nearest
from ..errors import error_body
from ..errors import render_error as render_openai

# What a model or an engine refuses is named after the fields of a chat.
_PARAMS = {"messages": "input", "think": "reasoning.effort"}
_CODES: dict[type[e.InhouseError], str] = {
    e.InhouseError: "server_error",
    e.BadRequest: "invalid_prompt",
    e.ContextExceeded: "context_length_exceeded",
    e.Busy: "rate_limit_exceeded",
    e.OutOfMemory: "server_error",
    e.DeadlineExceeded: "server_error",
    e.Draining: "server_error",
}


def _param(error: e.InhouseError) -> str | None:
    return _PARAMS.get(error.param or "", error.param)


def render_error(error: e.InhouseError) -> ErrorAnswer:
    """The answer when nothing was sent yet."""
    answer, body = render_openai(error), error_body(error)
    body["error"]["param"] = _param(error)
    return dataclasses.replace(answer, body=dumps(body))


def response_error(error: e.InhouseError) -> dict[str, Any]:
    """The ``error`` of a failed response."""
    return {"code": nearest(error, _CODES), "message": explain(error)}


def error_event(error: e.InhouseError) -> dict[str, Any]:
    """The fields of an ``error`` event."""
    return {"code": nearest(error, _CODES), "message": explain(error), "param": _param(error)}
