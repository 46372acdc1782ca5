"""The one place that knows llguidance, the library that engines built with it enforce grammars by."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llguidance import LLParserLimits, LLTokenizer

HEADER = "%llguidance {}\n"


@functools.cache
def byte_tokenizer() -> LLTokenizer:
    """A vocabulary of single bytes: what compiles for it compiles for every model."""
    from llguidance import LLTokenizer

    return LLTokenizer("byte")


@functools.cache
def limits() -> LLParserLimits:
    """Half of what the engine allows itself, so that what passes here passes there."""
    from llguidance import LLParserLimits

    return LLParserLimits(initial_lexer_fuel=500_000, max_grammar_size=250_000)


def schema_problem(schema: Mapping[str, Any]) -> str:
    """Why llguidance cannot enforce a schema; empty when it can."""
    return lark_problem(f"{HEADER}start: %json {json.dumps(schema)}")


def lark_problem(text: str) -> str:
    """Why llguidance cannot compile a Lark grammar, or make its first step; empty when it can."""
    from llguidance import LLMatcher

    matcher = LLMatcher(byte_tokenizer(), LLMatcher.grammar_from_lark(text), log_level=0, limits=limits())
    if not matcher.is_error():
        matcher.compute_bitmask()
    if matcher.is_error():
        return matcher.get_error() or "it does not compile"
    return ""
