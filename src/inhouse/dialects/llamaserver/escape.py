"""Breaking control tokens that stand in content.

llama-server reads a rendered chat with special tokens on, so the text of a control token in what
a user, a tool or a document says would become that token. A zero-width space after its first
character keeps it readable and makes it plain text.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any

BREAK = "\u200b"


@functools.lru_cache(maxsize=64)
def _pattern(tokens: tuple[str, ...]) -> re.Pattern[str] | None:
    texts = sorted((t for t in set(tokens) if len(t) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, texts))) if texts else None


def _broken(match: re.Match[str]) -> str:
    return match[0][0] + BREAK + match[0][1:]


def escape(text: str, tokens: tuple[str, ...]) -> str:
    """``text`` without any of the control tokens' texts."""
    pattern = _pattern(tokens)
    while pattern is not None and pattern.search(text):
        # Breaking a token may leave a shorter one that lay inside it: again, until none is left.
        text = pattern.sub(_broken, text)
    return text


def escape_tree(value: Any, tokens: tuple[str, ...]) -> Any:
    """The same for all strings of a JSON value, keys too; the value itself when there is nothing."""
    pattern = _pattern(tokens)
    if pattern is None or not pattern.search(json.dumps(value, ensure_ascii=False, default=dict)):
        return value
    return _walk(value, tokens)


def _walk(value: Any, tokens: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return escape(value, tokens)
    if isinstance(value, list | tuple):
        return [_walk(item, tokens) for item in value]
    if hasattr(value, "items"):
        return {escape(key, tokens): _walk(item, tokens) for key, item in value.items()}
    return value
