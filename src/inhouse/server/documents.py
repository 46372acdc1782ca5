"""The reference: an OpenAPI 3.1 document made from the route table, and a page that shows it."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .. import __version__
from . import answers
from .answers import Receive, Scope, Send
from .operations import AnyRow, operation, shown_path
from .schemas import EXAMPLES, SCHEMAS

if TYPE_CHECKING:
    from .manage.services import Services

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
code,pre{font:14px/1.45 ui-monospace,monospace}pre{background:#f4f5f7;padding:.8rem;overflow:auto}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.3rem .5rem;
text-align:left;vertical-align:top}summary{cursor:pointer;padding:.35rem 0}.m{font-weight:600}
@media(prefers-color-scheme:dark){body{background:#14171a;color:#e6e6e6}pre{background:#22262b}
td,th{border-color:#333}a{color:#8ab4ff}}
"""


def document(rows: Iterable[AnyRow]) -> dict[str, Any]:
    """The OpenAPI document of a route table."""
    paths: dict[str, Any] = {}
    for row in rows:
        for method in row.methods:
            paths.setdefault(shown_path(row.path), {})[method.lower()] = operation(row, method)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Inhouse", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def page(rows: Iterable[AnyRow]) -> str:
    """The reference as one HTML page: no script, nothing fetched."""
    out: list[str] = []
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            out.append(f"<h2>{html.escape(group)}</h2>")
        out.append(_row(row))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Inhouse API</title>"
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>"
        f"<h1>Inhouse {html.escape(__version__)} API</h1>"
        "<p>OpenAI and Ollama clients work against this server. The same reference as a document: "
        "<a href='/openapi.json'>/openapi.json</a>.</p>" + "".join(out)
    )


def _row(row: AnyRow) -> str:
    methods = html.escape(" ".join(row.methods))
    head = f"<summary><code class=m>{methods}</code> <code>{html.escape(shown_path(row.path))}</code> "
    head += f"{html.escape(row.summary)}</summary>"
    parts = [head]
    if row.body:
        fields = "".join(_field(n, s) for n, s in SCHEMAS[row.body].get("properties", {}).items())
        parts.append(f"<table><tr><th>field<th>type<th>what it does</tr>{fields}</table>")
        if row.body in EXAMPLES:
            parts.append(f"<pre>{html.escape(json.dumps(EXAMPLES[row.body], indent=2))}</pre>")
    return f"<details>{''.join(parts)}</details>"


def _field(name: str, schema: dict[str, Any]) -> str:
    kind = schema.get("type", "any")
    shown = " | ".join(kind) if isinstance(kind, list) else str(kind)
    text = html.escape(schema.get("description", ""))
    return f"<tr><td><code>{html.escape(name)}</code><td>{html.escape(shown)}<td>{text}</tr>"


async def openapi_document(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    await answers.json(scope, send, document(services.routes))


async def docs_page(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    csp = (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'")
    data = page(services.routes).encode()
    await answers.whole(scope, send, data, media_type="text/html; charset=utf-8", headers=[csp])
