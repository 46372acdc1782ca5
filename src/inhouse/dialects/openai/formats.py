"""How an answer must look: response_format, and what local servers' clients send for the same purpose.

vLLM's guided_* and structured_outputs, llama.cpp's grammar and json_schema. One of them at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ...core.errors import BadRequest
from ...core.json import parse
from ...core.messages import Format, Grammar
from ..fields import Fields, check_text, missing, wrong_type, wrong_value
from ..schemas import check_schema

MAX_GRAMMAR = 64 * 1024
MAX_CHOICES = 1000
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z", re.ASCII)
_KINDS = ("text", "json_object", "json_schema", "grammar")


def read_format(body: Fields) -> Format | None:
    """The one format that is asked for. A schema is always enforced, strict or not."""
    found: Format | None = None
    for name, read in _READERS.items():
        if not body.has(name):
            continue
        wanted = read(body, name)
        if found is not None and wanted is not None:
            raise BadRequest(
                f"Invalid value for '{name}': the answer has a format already, by '{found.param}'.",
                hint="Send one of them.",
                param=name,
            )
        found = wanted or found
    body.note("guided_decoding_backend")
    body.refuse("guided_whitespace_pattern", why="White space is the model's own choice here.")
    return found


def _response_format(body: Fields, name: str) -> Format | None:
    wanted = body.mapping(name)
    if wanted is None:
        return None
    kind = wanted.choice("type", *_KINDS)
    if kind is None:
        missing(wanted.at("type"), "'text', 'json_object', 'json_schema' or 'grammar'")
    if kind == "text":
        return None
    if kind == "grammar":
        return _described_grammar(wanted)
    if kind == "json_schema":
        return _json_schema(wanted)
    for key in ("schema", "value"):  # llama.cpp's and others' older way; Hugging Face's client's
        if wanted.has(key):
            return _schema(wanted, key)
    return Format("json", param=name)


def _json_schema(wanted: Fields) -> Format:
    described = wanted.mapping("json_schema")
    if described is None:
        missing(wanted.at("json_schema"), "an object with name and schema")
    name = described.required_text("name")
    if not _NAME.match(name):
        wrong_value(described.at("name"), "1 to 64 letters, digits, underscores or dashes", name)
    described.text("description")
    described.flag("strict")
    described.note("description")
    after = described.choice("enforcement", "decode", "after") == "after"
    if not described.has("schema"):
        missing(described.at("schema"), "a JSON Schema object")
    return _schema(described, "schema", after=after)


def _schema(fields: Fields, name: str, *, after: bool = False) -> Format:
    """A schema as an object, or as the text of one."""
    value = fields.get(name)
    if isinstance(value, str):
        try:
            value = parse(value.encode())
        except BadRequest:
            wrong_value(fields.at(name), "a JSON Schema object")
    if not isinstance(value, dict):
        wrong_type(fields.at(name), "a JSON Schema object", value)
    check_schema(value, fields.at(name))
    return Format("schema", value, after=after, param=fields.at(name))


def _described_grammar(wanted: Fields) -> Format:
    if isinstance(wanted.get("grammar"), str):
        return _gbnf(wanted, "grammar")
    grammar = wanted.mapping("grammar")
    if grammar is None:
        missing(wanted.at("grammar"), "an object with kind and text")
    named = "type" if grammar.has("type") and not grammar.has("kind") else "kind"
    kind = grammar.choice(named, "gbnf", "lark", "regex")
    text = _grammar_text(grammar, "text")
    match kind:
        case "gbnf" | "lark" | "regex":
            return Format("grammar", grammar=Grammar(kind, text), param=wanted.at("grammar"))
        case _:
            missing(grammar.at("kind"), "'gbnf', 'lark' or 'regex'")


def _grammar_text(fields: Fields, name: str) -> str:
    text = fields.required_text(name)
    if len(text) > MAX_GRAMMAR:
        wrong_value(fields.at(name), f"at most {MAX_GRAMMAR} characters")
    return text


def _gbnf(fields: Fields, name: str) -> Format:
    return Format("grammar", grammar=Grammar("gbnf", _grammar_text(fields, name)), param=fields.at(name))


def _regex(fields: Fields, name: str) -> Format:
    return Format("grammar", grammar=Grammar("regex", _grammar_text(fields, name)), param=fields.at(name))


def _either_grammar(fields: Fields, name: str) -> Format:
    """Both notations are sent under one name; only GBNF has ``::=``."""
    text = _grammar_text(fields, name)
    kind: Any = "gbnf" if "::=" in text else "lark"
    return Format("grammar", grammar=Grammar(kind, text), param=fields.at(name))


def _choice(fields: Fields, name: str) -> Format:
    """One of some texts, as they are."""
    texts = fields.items(name, MAX_CHOICES)
    if not texts:
        wrong_value(fields.at(name), "at least one text")
    for i, text in enumerate(texts):
        if not check_text(f"{fields.at(name)}[{i}]", text):
            wrong_value(f"{fields.at(name)}[{i}]", "a text that is not empty")
    alternatives = " | ".join(_literal(text) for text in texts)
    if len(alternatives) > MAX_GRAMMAR:
        wrong_value(fields.at(name), f"texts of at most {MAX_GRAMMAR} characters together")
    return Format("grammar", grammar=Grammar("gbnf", f"root ::= {alternatives}"), param=fields.at(name))


def _literal(text: str) -> str:
    """A text as GBNF writes one."""
    quoted = (f"\\{c}" if c in '"\\' else c if c >= " " else f"\\x{ord(c):02x}" for c in text)
    return f'"{"".join(quoted)}"'


def _structured(body: Fields, name: str) -> Format | None:
    wanted = body.mapping(name)
    if wanted is None:
        return None
    for other in ("structural_tag", "whitespace_pattern"):
        wanted.refuse(other)
    for flag in ("disable_any_whitespace", "disable_additional_properties"):
        wanted.refuse(flag, False)
    wanted.note("disable_fallback")
    found = [
        read(wanted, inner)
        for inner, read in (
            ("json", _schema),
            ("regex", _regex),
            ("choice", _choice),
            ("grammar", _either_grammar),
        )
        if wanted.has(inner)
    ]
    if wanted.flag("json_object", False):
        found.append(Format("json", param=wanted.at("json_object")))
    if len(found) != 1:
        wrong_value(name, "exactly one of json, regex, choice, grammar and json_object")
    return found[0]


_READERS: dict[str, Callable[[Fields, str], Format | None]] = {
    "response_format": _response_format,
    "structured_outputs": _structured,
    "guided_json": _schema,
    "guided_regex": _regex,
    "guided_choice": _choice,
    "guided_grammar": _either_grammar,
    "grammar": _gbnf,
    "json_schema": _schema,
}
