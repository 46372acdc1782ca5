"""The fake engine's answers to rendered chats: raw text, continued where a prompt already holds a part."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from .fake_script import Script

_OPEN, _CLOSE = "<think>", "</think>"
_USER = re.compile(r"<\|im_start\|>user\n(.*?)<\|im_end\|>", re.DOTALL)
_ASSISTANT = "<|im_start|>assistant\n"
_DEEPEST = 16


def turn(prompt: str) -> tuple[str, str] | None:
    """What the user said last in a rendered chat, and what was answered so far; None for other prompts."""
    spoken = _USER.findall(prompt)
    if not spoken or _ASSISTANT not in prompt:
        return None
    return spoken[-1], prompt.rpartition(_ASSISTANT)[2]


def raw(script: Script, written: str, schema: Any) -> Script:
    """The script as one raw text from where ``written`` ends. A format of which the script says nothing
    gets its smallest value."""
    text = script.text
    if script.tool_call is not None:
        arguments = script.tool_call.get("arguments", {})
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        text = (text or "") + json.dumps({"name": script.tool_call["name"], "arguments": arguments})
    elif schema is not None and text is None:
        text = json.dumps(sample(schema), ensure_ascii=False)
    if text is None:
        return script
    thought = f"{_OPEN}\n{script.reasoning}\n{_CLOSE}\n\n" if script.reasoning else ""
    whole = thought + text
    if written and whole.startswith(written):
        left = whole[len(written) :]
    elif _CLOSE in written:
        said = written.rpartition(_CLOSE)[2].lstrip()
        left = text[len(said) :] if text.startswith(said) else text
    else:
        left = text if schema is not None else whole
    if schema is not None:
        left = _value(left.lstrip())
    tokens = script.tokens if not written else None
    return dataclasses.replace(script, text=left, reasoning="", tool_call=None, tokens=tokens)


def _value(text: str) -> str:
    """The JSON value that a text begins with, as a grammar would end there; else all of it."""
    try:
        return text[: json.JSONDecoder().raw_decode(text)[1]]
    except ValueError:
        return text


def sample(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """A small value that is valid under a simple schema."""
    root = schema if root is None else root
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if isinstance(schema.get("$ref"), str):
        return sample(_target(root, schema["$ref"]), root, depth + 1)
    for join in ("anyOf", "oneOf", "allOf"):
        if schema.get(join):
            return sample(schema[join][0], root, depth + 1)
    kinds = schema.get("type", "object" if "properties" in schema else "null")
    return _of_type(kinds[0] if isinstance(kinds, list) else kinds, schema, root, depth)


def _of_type(kind: str, schema: Mapping[str, Any], root: Any, depth: int) -> Any:
    if kind == "object":
        named = schema.get("properties", {})
        wanted = list(schema.get("required", ()))
        return {name: sample(named.get(name, {}), root, depth + 1) for name in wanted}
    if kind == "array":
        return [sample(schema.get("items", {}), root, depth + 1)] * int(schema.get("minItems", 0))
    if kind == "string":
        return "a" * int(schema.get("minLength", 1))
    if kind in {"integer", "number"}:
        return max(schema.get("minimum", 0), schema.get("exclusiveMinimum", -1) + 1)
    return {"boolean": True}.get(kind)


def _target(root: Any, ref: str) -> Any:
    node = root
    for part in ref.removeprefix("#").split("/")[1:]:
        node = node.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(node, Mapping) else None
    return node
