"""What the reference says of one operation: its parameters, the body it takes, what it answers."""

from __future__ import annotations

import re
from typing import Any, Protocol

from .schemas import EXAMPLES

_PLACE = re.compile(r"\{(\w+)(:path)?\}")
_UNNAMED = re.compile(r"\W+")
_JSON = "application/json"
_TEXT: dict[str, Any] = {"type": "string"}
_BYTES: dict[str, Any] = {"type": "string", "format": "binary"}

_EMPTY = ("/api/copy", "/api/delete", "/api/blobs/{digest:path}")
"""Their answers have no body."""
_TYPES: dict[str, tuple[str, dict[str, Any]]] = {
    "/metrics": ("text/plain", _TEXT),
    "/docs": ("text/html", _TEXT),
    "/": ("text/plain", _TEXT),
    "/v1/files/{id}/content": ("application/octet-stream", _BYTES),
    "/api/export": ("application/x-tar", _BYTES),
}
_ANSWERS: dict[str, dict[str, str]] = {
    "/": {"307": "A browser is sent to /docs"},
    "/api/blobs/{digest:path}": {"201": "Taken", "404": "It is not here"},
}
_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "file": _BYTES,
        "purpose": {"type": "string", "description": "What it is for, such as user_data or batch."},
        "expires_after[anchor]": {"const": "created_at"},
        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
    },
    "required": ["file", "purpose"],
}

_REFUSED: dict[str, str] = {
    "400": "The request is wrong; the error says where",
    "401": "The API key is missing or wrong",
    "403": "This may not be done here, or not from there",
    "404": "No such model or thing",
    "409": "It clashes with what is there or under way",
    "413": "The body is too large",
    "415": "The body has another type than this route takes",
    "499": "The client left",
    "500": "The engine or the server failed",
    "502": "Another server failed",
    "503": "The model or the server cannot answer now",
    "507": "The disk is full",
}
_BUSY = {
    "OpenAI": {"429": "Too many requests wait"},
    "Tasks": {"429": "Too many requests wait"},
    "Anthropic": {"504": "It took too long", "529": "Too many requests wait"},
}
_ERRORS = {"OpenAI": "OpenAIError", "Tasks": "OpenAIError", "Anthropic": "AnthropicError"}
_OPEN = ("/health",)
"""Answer without a key, whatever else happens, and in their own shape."""

_AFTER = {"type": "string", "description": "The id of the last item of the page before."}
_BEFORE = {"type": "string", "description": "The id of the first item of the page after."}
_INCLUDE = {"type": "array", "items": {"type": "string"}, "description": "What else to show of the items."}


def _page(most: int = 100) -> dict[str, Any]:
    return {
        "limit": {"type": "integer", "minimum": 1, "maximum": most},
        "order": {"enum": ["asc", "desc"]},
        "after": _AFTER,
    }


_QUERIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        **_page(), "before": _BEFORE, "model": {"type": "string", "description": "Those of this model."},
    },
    "/v1/chat/completions/{id}/messages": {**_page(), "before": _BEFORE},
    "/v1/files": {**_page(10_000), "before": _BEFORE, "purpose": {"type": "string"}},
    "/v1/responses/{id}": {
        "include": _INCLUDE,
        "stream": {"type": "boolean", "description": "The events of a streamed background response again."},
        "starting_after": {"type": "integer", "minimum": 0, "description": "Only the events after this one."},
    },
    "/v1/responses/{id}/input_items": {**_page(), "include": _INCLUDE},
    "/v1/conversations/{id}/items": {**_page(), "include": _INCLUDE},
    "/v1/conversations/{id}/items/{item}": {"include": _INCLUDE},
    "/api/events": {
        "since": {"type": "string", "description": "A duration until now, like 90s or 1h, or an ISO date."},
        "model": {"type": "string", "description": "Those of this model."},
        "kind": {"type": "string", "description": "Those of these kinds, comma-separated."},
        "after": {"type": "integer", "minimum": 0, "description": "Those with a higher number."},
        "limit": {"type": "integer", "minimum": 1, "maximum": 10_000},
        "follow": {"type": "boolean", "description": "Stream further ones as they come."},
    },
    "/api/why": {
        "order": {"enum": ["latest", "slowest"]},
        "model": {"type": "string", "description": "Those of this model."},
        "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
    },
    "/api/why/{id}": {
        "all": {"type": "boolean", "description": "Every request of that id: clients may choose them."},
    },
    "/api/import": {"seal": {"type": "string", "description": "Only a bundle with this seal is taken."}},
}  # fmt: skip
"""Path: what may stand in the query of a GET, or of a POST where there is nothing else."""
_QUERIED = ("GET", "HEAD")


class AnyRow(Protocol):
    methods: tuple[str, ...]
    path: str
    group: str
    summary: str
    body: str
    stream: str
    upload: str


def shown_path(path: str) -> str:
    """A row's path as OpenAPI writes it."""
    return path.replace(":path}", "}")


def operation(row: AnyRow, method: str) -> dict[str, Any]:
    """The OpenAPI operation of one method of a row."""
    out: dict[str, Any] = {
        "operationId": method.lower() + _UNNAMED.sub("_", shown_path(row.path)),
        "tags": [row.group],
        "summary": row.summary,
        "responses": _responses(row, method),
    }
    if body := _body(row, method):
        out["requestBody"] = {"required": True, "content": body}
    if parameters := _parameters(row, method):
        out["parameters"] = parameters
    return out


def _responses(row: AnyRow, method: str) -> dict[str, Any]:
    ok: dict[str, Any] = {"description": "OK", "headers": {"x-request-id": {"schema": _TEXT}}}
    if method != "HEAD" and row.path not in _EMPTY:
        kind, schema = _TYPES.get(row.path, (_JSON, {}))
        ok["content"] = {kind: {"schema": schema}}
        if row.stream:
            ok["content"][row.stream] = {"schema": {}}
    out: dict[str, Any] = {"200": ok}
    if row.path in _OPEN:
        return out | {"503": {**ok, "description": "The server is stopping"}}
    wrong = {_JSON: {"schema": {"$ref": f"#/components/schemas/{_ERRORS.get(row.group, 'Error')}"}}}
    for status, text in sorted((_REFUSED | _BUSY.get(row.group, {})).items()):
        out[status] = {"description": text} | ({} if method == "HEAD" else {"content": wrong})
    for status, text in _ANSWERS.get(row.path, {}).items():
        if status not in out or method == "HEAD":
            out[status] = {"description": text}
    return out


def _body(row: AnyRow, method: str) -> dict[str, Any]:
    if method == "HEAD":
        return {}
    if row.upload == "multipart/form-data":
        return {row.upload: {"schema": _FORM}}
    if row.upload:
        return {row.upload: {"schema": _BYTES}}
    if not row.body:
        return {}
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{row.body}"}}
    if row.body in EXAMPLES:
        content["example"] = EXAMPLES[row.body]
    return {_JSON: content}


def _parameters(row: AnyRow, method: str) -> list[dict[str, Any]]:
    out = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name, _ in _PLACE.findall(row.path)
    ]
    if method in _QUERIED or row.path == "/api/import":
        out += [
            {"name": name, "in": "query", "schema": schema}
            for name, schema in _QUERIES.get(row.path, {}).items()
        ]
    return out
