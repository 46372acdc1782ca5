"""Can this engine enforce a format? Decided here, before the engine sees it."""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..core.errors import BadRequest, Unsupported
from ..core.messages import Format, Grammar, Tool
from . import llg, native
from .gbnf import BadGrammar, check_gbnf
from .schema import Impossible, Inexpressible, rewrite
from .validate import Validator

AFTER = 'Send "enforcement": "after" beside the schema to have the whole answer validated instead.'
LLGUIDANCE = frozenset({"gbnf", "lark"})
MAX_LARK = 64 * 1024
MAX_REGEX = 8 * 1024
_ASIDE = frozenset({"title", "description", "required", "$schema"})
MAX_WRITTEN = 1024 * 1024
"""Bytes of a rewritten schema."""


def check(format: Format, grammars: frozenset[str]) -> Format:
    """The format as the engine gets it: a schema in words that it enforces, at times narrower than asked,
    never wider.

    ``grammars`` are the notations of the engine (``Launch.grammars``). Blocking for milliseconds: call it
    in a thread. With ``format.after`` a schema that cannot be enforced comes back as it is, to be
    ``relaxed`` for each attempt; one that can loses its ``after``. Raises Unsupported or BadRequest
    naming ``format.param``.
    """
    if format.kind == "json":
        return replace(format, schema={"type": "object"})
    if format.kind == "grammar" and format.grammar is not None:
        _check_grammar(format.grammar, grammars, format.param)
        return format
    schema = format.schema or {}
    Validator(schema, format.param)
    try:
        return replace(format, schema=_written(json.dumps(schema), "lark" in grammars), after=False)
    except Inexpressible as reason:
        if format.after:
            return format
        raise Unsupported(
            f"Invalid value for '{format.param}': the schema cannot be enforced because of {reason}.",
            hint=f"Leave that out. {AFTER}",
            param=format.param,
        ) from None
    except Impossible:
        raise BadRequest(
            f"Invalid value for '{format.param}': no value is valid under the schema.",
            hint="Look for requirements that contradict each other.",
            param=format.param,
        ) from None


MOST_SECONDS = 5.0
"""Of a processor, for the schemas of all tools of a request: a usual one takes milliseconds."""


def check_tools(
    tools: Sequence[Tool], grammars: frozenset[str], param: str, *, forced: bool = True
) -> tuple[Tool, ...]:
    """Tools with their parameter schemas as the engine gets them (``enforced``).

    ``forced`` (tool_choice required, or a named tool): a schema that cannot be enforced is refused as
    ``check`` does, naming the tool's field below ``param``. Otherwise it is loosened, and the arguments
    are to be validated afterwards against the tool's own schema.
    """
    out, begun = [], time.thread_time()
    for at, tool in enumerate(tools):
        path = f"{param}[{at}].function.parameters"
        if time.thread_time() - begun > MOST_SECONDS:
            raise Unsupported(
                f"Invalid value for '{path}': the schemas of all tools together take too long to enforce.",
                hint="Send fewer tools, or simpler schemas.",
                param=path,
            )
        asked = Format("schema", _arguments(tool.parameters), after=not forced, param=path)
        found = check(asked, grammars)
        schema = relaxed(found.schema or {}, grammars) if found.after else found.schema or {}
        out.append(replace(tool, enforced=schema))
    return tuple(out)


def _arguments(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a call's arguments. A function without parameters takes none (OpenAI's API): one
    whose list of them is empty, or that has no schema at all."""
    listed = {key: value for key, value in parameters.items() if key not in _ASIDE}
    if listed in ({}, {"type": "object", "properties": {}}, {"properties": {}}):
        return {"type": "object", "additionalProperties": False}
    return parameters


def engine_grammar(grammar: Grammar) -> str:
    """What llama-server's ``grammar`` field gets: GBNF as it is, the others as llguidance's Lark."""
    if grammar.kind == "gbnf":
        return grammar.text
    if grammar.kind == "lark":
        return grammar.text if grammar.text.startswith("%llguidance") else llg.HEADER + grammar.text
    return _regex(grammar.text)


def relaxed(schema: Mapping[str, Any], grammars: frozenset[str] = LLGUIDANCE) -> dict[str, Any]:
    """A schema without what cannot be enforced, for answers that are validated afterwards."""
    try:
        return _enforced(rewrite(schema, lenient=True).schema, "lark" in grammars)
    except (Inexpressible, Impossible):
        kind = schema.get("type")
        return {"type": kind} if isinstance(kind, str) else {}


@functools.lru_cache(64)
def _written(schema: str, lark: bool) -> dict[str, Any]:
    return _enforced(rewrite(json.loads(schema)).schema, lark)


def _enforced(found: dict[str, Any], lark: bool) -> dict[str, Any]:
    if not lark:
        found = native.convert(found)
    text = json.dumps(found)
    if len(text) > MAX_WRITTEN:
        raise Inexpressible("schema", "it becomes too large")
    if lark and (problem := llg.schema_problem(found)):
        raise Inexpressible(_keyword(problem))
    return found


def _keyword(problem: str) -> str:
    """The part of a schema that llguidance's message speaks of."""
    known = {"patternProperty": "patternProperties", "regex": "pattern", "minProperties": "minProperties"}
    return next((word for mark, word in known.items() if mark in problem), "its size")


_UNSAFE = re.compile(r"\\.|[/\n\r]", re.DOTALL)
_SAFE = {"/": "\\/", "\n": "\\n", "\r": "\\r"}
"""What would end an expression of Lark; a backslash and what follows it are one piece."""


def _regex(pattern: str) -> str:
    return f"{llg.HEADER}start: /{_UNSAFE.sub(lambda found: _SAFE.get(found[0][-1], found[0]), pattern)}/\n"


def _check_grammar(grammar: Grammar, grammars: frozenset[str], param: str) -> None:
    if ("gbnf" if grammar.kind == "gbnf" else "lark") not in grammars:
        raise Unsupported(
            f"Invalid value for '{param}': this engine has no {grammar.kind} grammars.",
            hint="Use a GBNF grammar or a JSON Schema.",
            param=param,
        )
    problem = _gbnf_problem(grammar.text) if grammar.kind == "gbnf" else _lark_problem(grammar)
    if problem:
        raise BadRequest(
            f"Invalid value for '{param}': {problem}.",
            hint="Try the grammar with a small example first.",
            param=param,
        )


def _gbnf_problem(text: str) -> str:
    try:
        check_gbnf(text)
    except BadGrammar as error:
        return str(error)
    return ""


_OPTIONS = re.compile(r"%llguidance(?!\s*\{\s*\})")
"""Options of the engine are the operator's: one of them lets broken UTF-8 through."""


def _lark_problem(grammar: Grammar) -> str:
    most = MAX_REGEX if grammar.kind == "regex" else MAX_LARK
    if len(grammar.text.encode("utf-8", "replace")) > most:
        return f"it is larger than {most // 1024} KiB"
    if not grammar.text.strip():
        return "it is empty"
    if grammar.kind == "lark" and _OPTIONS.search(grammar.text):
        return "it sets options with %llguidance"
    problem = llg.lark_problem(engine_grammar(grammar))
    return f"the {grammar.kind} is not valid: {problem.strip().splitlines()[0][:120]}" if problem else ""
