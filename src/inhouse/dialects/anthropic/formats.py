"""How an answer must look: ``output_config.format``, or ``output_format`` as it was called before."""

from __future__ import annotations

from ...core.errors import BadRequest
from ...core.messages import Format, Grammar
from ..fields import Fields, missing, wrong_value
from ..schemas import check_schema

MAX_GRAMMAR = 64 * 1024


def read_format(body: Fields, output: Fields | None) -> Format | None:
    """A JSON Schema or, as an extension, a grammar. Raises BadRequest."""
    old = body.mapping("output_format")
    new = None if output is None else output.mapping("format")
    if old is not None and new is not None:
        raise BadRequest(
            "Use only one of output_format and output_config.format.",
            hint="output_config.format is the current one.",
            param="output_format",
        )
    wanted = old if new is None else new
    if wanted is None:
        return None
    kind = wanted.choice("type", "json_schema", "grammar")
    if kind is None:
        missing(wanted.at("type"), "'json_schema'")
    return _grammar(wanted) if kind == "grammar" else _schema(wanted)


def _schema(wanted: Fields) -> Format:
    schema = wanted.object("schema")
    if schema is None:
        missing(wanted.at("schema"), "a JSON Schema object")
    check_schema(schema, wanted.at("schema"))
    after = wanted.choice("enforcement", "decode", "after") == "after"
    return Format("schema", schema, after=after, param=wanted.at("schema"))


def _grammar(wanted: Fields) -> Format:
    grammar = wanted.mapping("grammar")
    if grammar is None:
        missing(wanted.at("grammar"), "an object with kind and text")
    text = grammar.required_text("text")
    if len(text) > MAX_GRAMMAR:
        wrong_value(grammar.at("text"), f"at most {MAX_GRAMMAR} characters")
    kind = grammar.choice("kind", "gbnf", "lark", "regex")
    match kind:
        case "gbnf" | "lark" | "regex":
            return Format("grammar", grammar=Grammar(kind, text), param=wanted.at("grammar"))
        case _:
            missing(grammar.at("kind"), "'gbnf', 'lark' or 'regex'")
