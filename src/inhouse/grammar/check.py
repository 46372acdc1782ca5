"""Can this engine enforce a format? Decided here, before the engine sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..core.errors import BadRequest, Unsupported
from ..core.messages import Format, Grammar, Tool
from . import llg

AFTER = 'Send "enforcement": "after" with the schema to have the answer validated afterwards instead.'


def check(format: Format, grammars: frozenset[str]) -> Format:
    """The format as the engine gets it.

    ``grammars`` are the notations of the engine (``Launch.grammars``). Blocking for milliseconds:
    call it in a thread. Raises Unsupported or BadRequest naming ``format.param``.
    """
    if format.kind == "json":
        return replace(format, schema={"type": "object"})
    if format.kind == "grammar" and format.grammar is not None:
        _check_grammar(format.grammar, grammars, format.param)
        return format
    schema = dict(format.schema or {})
    schema.pop("x-guidance", None)
    problem = llg.schema_problem(schema)
    if problem:
        raise Unsupported(
            f"Invalid value for '{format.param}': the schema cannot be enforced.",
            hint=AFTER,
            param=format.param,
            detail=problem,
        )
    return replace(format, schema=schema)


def check_tools(tools: Sequence[Tool], grammars: frozenset[str], param: str) -> tuple[Tool, ...]:
    """Tools with parameter schemas as the engine gets them, for calls that are forced.

    Raises Unsupported naming the tool whose arguments cannot be enforced.
    """
    out = []
    for at, tool in enumerate(tools):
        path = f"{param}[{at}].function.parameters"
        checked = check(Format("schema", tool.parameters or {"type": "object"}, param=path), grammars)
        out.append(replace(tool, parameters=checked.schema or {}))
    return tuple(out)


def engine_grammar(grammar: Grammar) -> str:
    """What llama-server's ``grammar`` field gets: GBNF as it is, the others as llguidance's Lark."""
    if grammar.kind == "gbnf":
        return grammar.text
    if grammar.kind == "lark":
        return grammar.text if grammar.text.startswith("%llguidance") else llg.HEADER + grammar.text
    return f"{llg.HEADER}start: /{grammar.text.replace('/', chr(92) + '/')}/\n"


def relaxed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that every valid value satisfies and that can be enforced."""
    return {} if llg.schema_problem(schema) else dict(schema)


def _check_grammar(grammar: Grammar, grammars: frozenset[str], param: str) -> None:
    wanted = "gbnf" if grammar.kind == "gbnf" else "lark"
    if wanted not in grammars:
        raise Unsupported(
            f"Invalid value for '{param}': this engine has no {grammar.kind} grammars.",
            hint="Use a GBNF grammar or a JSON Schema.",
            param=param,
        )
    problem = "" if wanted == "gbnf" else llg.lark_problem(engine_grammar(grammar))
    if problem:
        raise BadRequest(
            f"Invalid value for '{param}': the grammar is not valid.", param=param, detail=problem
        )
