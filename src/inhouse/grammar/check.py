"""Can this engine enforce a format? Decided here, before the engine sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..core.errors import BadRequest, Unsupported
from ..core.messages import Format, Grammar, Tool
from . import llg
from .schema import Impossible, Inexpressible, rewrite
from .validate import Validator

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
    return replace(format, schema=_enforceable(format.schema or {}, format))


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
    for attempt in (rewrite_lenient, _outline):
        try:
            found = attempt(schema)
        except Inexpressible:
            continue
        if not llg.schema_problem(found):
            return found
    return {}


def rewrite_lenient(schema: Mapping[str, Any]) -> dict[str, Any]:
    return rewrite(schema, lenient=True).schema


def _outline(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": schema["type"]} if "type" in schema else {}


def _enforceable(schema: Mapping[str, Any], format: Format) -> dict[str, Any]:
    Validator(schema, format.param)
    try:
        found = rewrite(schema).schema
    except Inexpressible as reason:
        raise _refusal(format.param, str(reason), "") from None
    except Impossible:
        raise BadRequest(
            f"Invalid value for '{format.param}': no value is valid under the schema.", param=format.param
        ) from None
    problem = llg.schema_problem(found)
    if problem:
        raise _refusal(format.param, "it does not compile", problem)
    return found


def _refusal(param: str, why: str, detail: str) -> Unsupported:
    return Unsupported(
        f"Invalid value for '{param}': the schema cannot be enforced: {why}.",
        hint=AFTER,
        param=param,
        detail=detail,
    )


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
