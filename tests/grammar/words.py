"""Words of a grammar, for tests: is a text one, and random ones."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from llguidance import LLMatcher

from inhouse.core.messages import Format
from inhouse.grammar import Validator, check
from inhouse.grammar.llg import byte_tokenizer

LLG = frozenset({"gbnf", "lark"})


def enforced(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What the engine gets for a schema."""
    found = check(Format("schema", schema), LLG).schema
    assert found is not None
    return dict(found)


def matcher(schema: Mapping[str, Any]) -> LLMatcher:
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(enforced(schema)))
    found = LLMatcher(byte_tokenizer(), grammar, log_level=0)
    assert not found.is_error(), found.get_error()
    return found


def takes(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether the grammar of a schema has this value, as ``json.dumps`` writes it."""
    return takes_text(schema, json.dumps(value, ensure_ascii=False))


def takes_text(schema: Mapping[str, Any], text: str) -> bool:
    found, data = matcher(schema), list(text.encode())
    return found.try_consume_tokens(data) == len(data) and found.is_accepting()


def divides(schema: Mapping[str, Any], good: Any, bad: Any) -> None:
    """Fail unless validator and grammar take every value of ``good`` and none of ``bad``."""
    validator = Validator(schema)
    for value in good:
        assert validator.valid(json.dumps(value)) is None, value
        assert takes(schema, value), value
    for value in bad:
        assert validator.valid(json.dumps(value)) is not None, value
        assert not takes(schema, value), value


def walk(start: LLMatcher, rng: random.Random) -> str | None:
    """A random word; None when it did not end soon."""
    found, out = start.deep_copy(), bytearray()
    while len(out) < 800:
        mask = int.from_bytes(found.compute_bitmask(), "little")
        allowed = [code for code in range(256) if mask >> code & 1]
        if found.is_accepting() and (not allowed or rng.random() < 0.5):
            return out.decode()
        dark = [code for code in allowed if code not in b" \n\r\t"]
        ends = [code for code in dark if code in b'"}]']
        plain = [code for code in dark if code < 127]
        code = rng.choice(ends if ends and rng.random() < 0.4 else plain or dark or allowed)
        assert found.consume_token(code)
        out.append(code)
    return None
