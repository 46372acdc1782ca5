"""What people type as NAME=VALUE, FORMAT and DURATION, turned into what the API takes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import config
from ..core.errors import BadRequest

_KINDS: dict[str, type] = {
    "num_ctx": int, "num_batch": int, "num_gpu": int, "main_gpu": int, "num_thread": int, "num_keep": int,
    "seed": int, "num_predict": int, "top_k": int, "repeat_last_n": int,
    "top_p": float, "min_p": float, "typical_p": float, "temperature": float, "repeat_penalty": float,
    "presence_penalty": float, "frequency_penalty": float,
    "use_mmap": bool,
}  # fmt: skip
_WORDS = {int: "a whole number", float: "a number", bool: "true or false"}
NAMES = (*sorted(_KINDS), "stop")
THINK_LEVELS = ("low", "medium", "high", "max")


def option(name: str, words: Sequence[str]) -> Any:
    """The value of one model option. Names unknown here are passed on: the server is the judge.

    Raises BadRequest for a value of the wrong type.
    """
    if name == "stop":
        return [_unquoted(word) for word in words]
    text, kind = " ".join(words), _KINDS.get(name, str)
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if kind is not str:
            return int(text) if kind is int else _finite(text)
    except (ValueError, KeyError):
        raise BadRequest(f"option {name} must be {_WORDS[kind]}", hint=f"Not {text[:40]!r}.") from None
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
