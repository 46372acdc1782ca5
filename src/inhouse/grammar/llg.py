"""The one place that knows llguidance, the library that engines built with it enforce grammars by."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llguidance import LLTokenizer

HEADER = "%llguidance {}\n"


@functools.cache
def byte_tokenizer() -> LLTokenizer:
    """A vocabulary of single bytes: what compiles for it compiles for every model."""
    from llguidance import LLTokenizer

    return LLTokenizer("byte")


def schema_problem(schema: Mapping[str, Any]) -> str:
    """Why llguidance cannot enforce a schema; empty when it can."""
    return lark_problem(f"{HEADER}start: %json {json.dumps(schema)}")


def lark_problem(text: str) -> str:
    """Why llguidance cannot compile a Lark grammar; empty when it can."""
    from llguidance import LLMatcher

    failed, messages = LLMatcher.validate_grammar_with_warnings(
        LLMatcher.grammar_from_lark(text), byte_tokenizer()
    )
    return messages[0] if failed else ""
