"""llama-server's refusals, in the words of our error tree.

Its messages may quote the prompt, a path or a template's traceback, so none is passed on: known ones
are recognised and said anew, the raw text goes to ``detail``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...core.errors import BadRequest, ContextExceeded, EngineError, InhouseError, Unsupported

_KNOWN = (
    ("JSON schema", "The JSON schema cannot be used: the engine found no grammar for it.", "response_format"),
    ("json_schema", "The JSON schema cannot be used: the engine found no grammar for it.", "response_format"),
    ("grammar", "The JSON schema cannot be used: its grammar is too complex.", "response_format"),
    ("emplate", "The model's chat template refuses this conversation.", "messages"),
    ("Jinja", "The model's chat template refuses this conversation.", "messages"),
    ("jinja", "The model's chat template refuses this conversation.", "messages"),
    ("While executing", "The model's chat template refuses this conversation.", "messages"),
    ("assistant message", "The model's chat template refuses this conversation.", "messages"),
    ("image", "The engine cannot use one of the images.", "messages"),
    ("token", "A token id is outside the model's vocabulary.", "prompt"),
)
_HINTS = {
    "response_format": "Simplify the schema; references must stay inside it.",
    "messages": "Check the order and the roles of the messages.",
    "prompt": "Use token ids of this model.",
}


def from_answer(status: int, body: bytes, *, param: str) -> InhouseError:
    """The error of an HTTP answer that is not 200."""
    try:
        parsed = msgspec.json.decode(body)
    except msgspec.DecodeError:
        parsed = None
    error = parsed.get("error") if isinstance(parsed, dict) else None
    if error is None:
        error = body[:2000].decode("utf-8", "replace")
    return from_error(error, status=status, param=param)


def from_error(error: Any, *, param: str, status: int = 0) -> InhouseError:
    """The error of an ``error`` object, in an answer or amid a stream (then without a status)."""
    fields = error if isinstance(error, dict) else {"message": str(error)}
    raw = str(fields.get("message", ""))[:4000]
    code = fields.get("code")
    status = status or (code if isinstance(code, int) else 500)
    if fields.get("type") == "exceed_context_size_error":
        return ContextExceeded(_whole(fields, "n_prompt_tokens"), _whole(fields, "n_ctx"), param=param)
    if fields.get("type") == "not_supported_error" or status == 501:
        where = "suffix" if "nfill" in raw else param
        return Unsupported(
            "This model or engine cannot do that.", hint="Use another model.", param=where, detail=raw
        )
    if 400 <= status < 500:
        return _refusal(raw, param)
    return EngineError(
        "The engine failed at this request.", hint="Try again; the log has the details.", detail=raw
    )


def _refusal(raw: str, param: str) -> BadRequest:
    for sign, message, field in _KNOWN:
        if sign in raw:
            return BadRequest(message, hint=_HINTS[field], param=field, detail=raw)
    return BadRequest(
        "The engine refused the request.",
        hint="Check the parameters of the request; the log has the details.",
        param=param,
        detail=raw,
    )


def _whole(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    return value if isinstance(value, int) else 0
