"""``format`` of /api/chat and /api/generate, and two fields of our own beside it: ``grammar`` and
``format_enforcement``."""

from __future__ import annotations

import json

from ...core.errors import BadRequest
from ...core.messages import Format, Grammar
from ..fields import Fields, missing, wrong_type, wrong_value
from ..schemas import check_schema

MAX_GRAMMAR = 64 * 1024


def read_format(body: Fields) -> Format | None:
    """How the answer must look, if it must. Raises BadRequest.

    ``format`` is ``"json"`` or a JSON Schema; ``grammar`` is ``{"kind": "gbnf" | "lark" | "regex",
    "text": ...}`` instead of it; ``format_enforcement: "after"`` lets a schema be checked on the whole
    answer where it cannot be enforced while decoding.
    """
    after = body.choice("format_enforcement", "strict", "after") == "after"
    wanted = _format(body, after)
    grammar = _grammar(body)
    if grammar is not None and wanted is not None:
        wrong_value("grammar", "nothing beside format")
    if after and (wanted is None or wanted.kind != "schema"):
        wrong_value("format_enforcement", "a JSON schema in format beside it")
    return grammar or wanted


def _format(body: Fields, after: bool) -> Format | None:
    value = body.get("format")
    if value is None or value == "":
        return None
    if value == "json":
        return Format("json", param="format")
    if isinstance(value, dict):
        check_schema(value, "format")
        return Format("schema", value, after=after, param="format")
    if not isinstance(value, str):
        wrong_type("format", '"json" or a JSON schema', value)
    shown = json.dumps(json.dumps(value)) if len(value) <= 40 and value.isprintable() else '"..."'
    raise BadRequest(
        f'invalid format: {shown}; expected "json" or a valid JSON Schema object', param="format"
    )


def _grammar(body: Fields) -> Format | None:
    given = body.mapping("grammar")
    if given is None:
        return None
    kind = given.choice("kind", "gbnf", "lark", "regex")
    if kind is None:
        missing("grammar.kind", "'gbnf', 'lark' or 'regex'")
    text = given.text("text", longest=MAX_GRAMMAR)
    if not text:
        missing("grammar.text", "the grammar")
    # mypy cannot see that ``choice`` gives one of its arguments
    checked: Grammar = Grammar(kind, text)  # type: ignore[arg-type]
    return Format("grammar", grammar=checked, param="grammar")
