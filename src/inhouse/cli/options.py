"""What people type as NAME=VALUE, FORMAT and DURATION, turned into what the API takes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import config
from ..core.errors import BadRequest

_INTEGERS = frozenset(
    ("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "seed", "num_predict")
    + ("top_k", "repeat_last_n")
)
_NUMBERS = frozenset(
    ("top_p", "min_p", "typical_p", "temperature", "repeat_penalty")
    + ("presence_penalty", "frequency_penalty")
)
_FLAGS = frozenset(["use_mmap"])
NAMES = (*sorted(_INTEGERS | _NUMBERS | _FLAGS), "stop")
THINK_LEVELS = ("low", "medium", "high", "max")


def option(name: str, words: Sequence[str]) -> Any:
    """The value of one model option. Names unknown here are passed on: the server is the judge.

    Raises BadRequest for a value of the wrong type.
    """
    if name == "stop":
        return [_unquoted(word) for word in words]
    text = " ".join(words)
    try:
        if name in _INTEGERS:
            return int(text)
        if name in _NUMBERS:
            return _finite(text)
        if name in _FLAGS:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
    except (ValueError, KeyError):
        kind = "a whole number" if name in _INTEGERS else "a number" if name in _NUMBERS else "true or false"
        raise BadRequest(f"option {name} must be {kind}", hint=f"Not {text[:40]!r}.") from None
    try:
        return json.loads(text)
    except ValueError:
        return text


def assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """Options of ``NAME=VALUE`` texts; ``stop`` may come again and again. Raises BadRequest."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise BadRequest(f"{pair[:40]!r} is not NAME=VALUE", hint="For example: --option temperature=0.2")
        parsed = option(name.strip(), [value])
        found[name.strip()] = found.get("stop", []) + parsed if name.strip() == "stop" else parsed
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


def _unquoted(word: str) -> str:
    """``"\\n"`` in quotes is JSON; anything else is itself."""
    if len(word) > 1 and word[0] == word[-1] == '"':
        try:
            return str(json.loads(word))
        except ValueError:
            return word[1:-1]
    return word


def answer_format(text: str) -> Any:
    """``json``, an inline JSON schema, or the path of a file that holds one. Raises BadRequest."""
    if text == "json":
        return text
    source = text
    if not text.lstrip().startswith("{"):
        try:
            source = Path(text).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise BadRequest(
                f"the schema file cannot be read: {reason}",
                detail=text,
                hint="Give json, a JSON schema, or the path of a file with one.",
            ) from error
    try:
        schema = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the schema is not JSON", detail=str(error), hint="Check it with: jq .") from error
    if not isinstance(schema, dict):
        raise BadRequest("a schema is a JSON object", hint='For example: {"type": "object"}')
    return schema


def keep_alive(text: str) -> str | float:
    """A duration as the API takes it: seconds for a bare number, else the text. Raises BadRequest."""
    try:
        config.duration(text)
    except ValueError as error:
        raise BadRequest(str(error), hint="Like 300, 5m, 1h30m, 0 (unload), -1 (for ever).") from None
    try:
        return float(text)
    except ValueError:
        return text


def think(text: str) -> bool | str:
    """``true``, ``false`` or a level. Raises BadRequest."""
    word = text.lower()
    if word in ("true", "false"):
        return word == "true"
    if word not in THINK_LEVELS:
        raise BadRequest(
            f"{text[:40]!r} is not a way to think", hint=f"One of: true, false, {', '.join(THINK_LEVELS)}"
        )
    return word
