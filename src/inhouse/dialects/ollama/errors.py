"""Errors in Ollama's shape: ``{"error": "text"}``, with its texts where clients match on them."""

from __future__ import annotations

from ...core import errors as e
from ..codec import ErrorAnswer
from ..wire import dumps, error_headers, explain, nearest

_STATUS: dict[type[e.InhouseError], int] = {
    e.InhouseError: 500,
    e.BadRequest: 400,
    e.BodyTooLarge: 413,
    e.Unauthorized: 401,
    e.Forbidden: 403,
    e.NotFound: 404,
    e.Conflict: 409,
    e.Busy: 503,
    e.RateLimited: 429,
    e.CrashLoop: 503,
    e.NoSpace: 507,
    e.SourceFailed: 502,
    e.Cancelled: 499,
}
_EMBED_ROUTES = ("embed", "embeddings")
_AROUND = 2  # the tokens before and after a text: where no more fit, nothing of the text is left
NO_ROOM = "input after truncation exceeds maximum context length"
_LACKS = " does not support "


def error_text(error: e.InhouseError, route: str = "") -> str:
    """The text; ``route`` (embed, embeddings, copy ...) decides where Ollama's texts differ."""
    if isinstance(error, e.ModelNotFound):
        if route in _EMBED_ROUTES:
            return f'model "{error.model}" not found, try pulling it first'
        return f'model "{error.model}" not found' if route == "copy" else error.message
    if isinstance(error, e.Unsupported) and _LACKS in error.message:
        return error.message  # '"m" does not support thinking': the whole text is matched on
    if isinstance(error, e.ContextExceeded) and route in _EMBED_ROUTES:
        if error.context_length <= _AROUND:
            return NO_ROOM
        counts = f"{error.prompt_tokens} tokens, the context holds {error.context_length}"
        return f"the input length exceeds the context length ({counts})"
    if isinstance(error, e.QueueFull):
        return "server busy, please try again.  maximum pending requests exceeded"
    if isinstance(error, e.Cancelled):
        return "request canceled"
    return explain(error)


def render_error(error: e.InhouseError, *, route: str = "") -> ErrorAnswer:
    """The answer when nothing was sent yet."""
    headers = error_headers(error)
    if advice := advice_of(error):
        headers = (*headers, ("x-inhouse-hint", advice))
    return ErrorAnswer(nearest(error, _STATUS), dumps({"error": error_text(error, route)}), headers)


def advice_of(error: e.InhouseError) -> str:
    """What an error advises where clients match on its whole text, so that the advice rides beside it.

    For a missing model only what is better than that it is missing.
    """
    if isinstance(error, e.ModelNotFound):
        told = error.hint != e.ModelNotFound(error.model).hint
    else:
        told = isinstance(error, e.Unsupported) and _LACKS in error.message
    return error.hint[:1000] if told and error.hint.isascii() and error.hint.isprintable() else ""
