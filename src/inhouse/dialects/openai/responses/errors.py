"""Errors of the Responses API: OpenAI's shape, with the names that fields have here."""

from __future__ import annotations

import copy
from typing import Any

from ....core import errors as e
from ...codec import ErrorAnswer
from ...wire import explain, nearest
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


def _renamed(error: e.InhouseError) -> e.InhouseError:
    name = _PARAMS.get(error.param or "")
    if name is not None:
        error = copy.copy(error)
        error.param = name
    return error


def render_error(error: e.InhouseError) -> ErrorAnswer:
    """The answer when nothing was sent yet."""
    return render_openai(_renamed(error))


def response_error(error: e.InhouseError) -> dict[str, Any]:
    """The ``error`` of a failed response."""
    return {"code": nearest(error, _CODES), "message": explain(error)}


def error_event(error: e.InhouseError) -> dict[str, Any]:
    """The fields of an ``error`` event."""
    return {"code": nearest(error, _CODES), "message": explain(error), "param": _renamed(error).param}
