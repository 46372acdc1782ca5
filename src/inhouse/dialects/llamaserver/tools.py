"""Which way tools take: through the model's template, declared by us, or forced by a grammar.

Sources: the templates' own ways differ and small models often miss them, so what counts is the
text that comes back; ``toolcalls`` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...core.errors import BadRequest, Unsupported
from ...core.messages import Format, Tool
from ...core.models import Card
from ...core.requests import Chat
from .escape import escape, escape_tree

MAX_CALLS = 8
"""Calls of one answer under ``required`` with ``parallel_tool_calls``: a grammar needs an end."""


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """``native``: the template renders the tools; ``declared``: we do, in the system message.

    ``schema`` constrains the answer, to calls alone when ``mode`` is ``forced``. ``ours``: calls are
    JSON, which we read; else the engine knows how this model writes them.
    """

    mode: Literal["off", "auto", "forced"] = "off"
    native: bool = False
    declared: bool = False
    schema: Mapping[str, Any] | None = None
    names: tuple[str, ...] = ()
    single: bool = False
    ours: bool = False


def plan(chat: Chat, card: Card) -> ToolPlan:
    """Decide. Raises Unsupported for a model without chat, BadRequest for an unknown function."""
    knows = "tools" in card.capabilities
    choice = chat.tool_choice
    if not chat.tools or choice.mode == "none":
        if choice.mode == "required" and not chat.tools:
            raise BadRequest("tool_choice asks for a call, but there are no tools.", param="tool_choice")
        return ToolPlan(native=knows)
    if "chat" not in card.capabilities:
        raise Unsupported("This model cannot call tools.", hint="Use a chat model.", param="tools")
    names = tuple(tool.name for tool in chat.tools)
    if choice.name and choice.name not in names:
        raise BadRequest(
            f"tool_choice names the function '{choice.name[:80]}', which is not among the tools.",
            hint="Name one of the tools.",
            param="tool_choice",
        )
    # llama-server refuses log-probabilities beside its own parsing of calls: then we declare.
    json_calls = knows and writes_json(card)
    native = knows and (json_calls or chat.logprobs is None)
    ours = json_calls or not native or chat.prompt is not None
    if choice.mode == "required":
        some = [tool for tool in chat.tools if choice.name in (None, tool.name)]
        several = bool(chat.parallel_tool_calls) and not choice.name
        schema = call_schema(some, several=several)
        return ToolPlan("forced", native, not native, schema, names, not several, ours)
    either = None
    if chat.format is not None:
        if chat.format.kind == "grammar":
            raise Unsupported(
                "A grammar for the answer and tools cannot go together.",
                hint='Use a JSON Schema, or tool_choice "none" or "required".',
                param=chat.format.param,
            )
        either = call_schema(chat.tools, several=False, other=schema_of(chat.format))
    return ToolPlan("auto", native, not native, either, names, chat.parallel_tool_calls is False, ours)


_OTHERWISE = ("<function=", "<arg_key>", "<invoke", "<parameter", "<|channel", "[TOOL_CALLS]")


def writes_json(card: Card) -> bool:
    """Whether the model's template writes calls as JSON between ``<tool_call>`` tags, as Hermes does."""
    template = card.template
    return "<tool_call>" in template and not any(sign in template for sign in _OTHERWISE)


def schema_of(wanted: Format) -> Mapping[str, Any]:
    """The JSON Schema of a format that is no grammar."""
    return wanted.schema if wanted.kind == "schema" and wanted.schema is not None else {"type": "object"}


def arguments_schema(tool: Tool) -> dict[str, Any]:
    """What the arguments of a call must satisfy: an object, whatever else."""
    return _object(tool.parameters)


def _object(parameters: Mapping[str, Any]) -> dict[str, Any]:
    schema = dict(parameters)
    if not schema.keys() & {"type", "$ref", "anyOf", "oneOf", "allOf"}:
        schema["type"] = "object"
    return schema


def held_to(tool: Tool) -> dict[str, Any]:
    """What the engine holds the arguments of a call to."""
    return _object(tool.parameters if tool.enforced is None else tool.enforced)


def encode(tools: tuple[Tool, ...], card: Card) -> list[dict[str, Any]]:
    """Tools in OpenAI's form."""
    return [
        {
            "type": "function",
            "function": escape_tree(
                {
                    "name": t.name,
                    "description": t.description,
                    "parameters": t.parameters or {"type": "object"},
                },
                card.control_tokens,
            ),
        }
        for t in tools
    ]


def declaration(chat: Chat, card: Card, chosen: ToolPlan) -> str:
    """What a system message says of the tools when the template does not."""
    lines = [
        json.dumps(
            {"name": t.name, "description": t.description, "parameters": t.parameters or {"type": "object"}},
            ensure_ascii=False,
            default=dict,
        )
        for t in chat.tools
    ]
    how = 'with only a JSON object {"name": <function>, "arguments": {...}} and nothing else'
    if chosen.mode == "forced" and not chosen.single:
        how = 'with only a JSON list of objects {"name": <function>, "arguments": {...}}'
    when = (
        f"Answer {how}."
        if chosen.mode == "forced"
        else f"To call a function, answer {how}. Else answer in words."
    )
    text = "You can call these functions, each given with the JSON Schema of its arguments:\n"
    return escape(text + "\n".join(lines) + "\n" + when, card.control_tokens)


def call_schema(
    tools: list[Tool] | tuple[Tool, ...], *, several: bool, other: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A schema whose values are calls of ``tools``, a list of them, or else values of ``other``."""
    definitions: dict[str, Any] = {}
    options: list[dict[str, Any]] = []
    for i, tool in enumerate(tools):
        definitions[f"t{i}"] = rebased(held_to(tool), f"#/$defs/t{i}")
        options.append(
            {
                "type": "object",
                "properties": {"name": {"const": tool.name}, "arguments": {"$ref": f"#/$defs/t{i}"}},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    if other is not None:
        definitions["other"] = rebased(other, "#/$defs/other")
        options.append({"$ref": "#/$defs/other"})
    one: dict[str, Any] = options[0] if len(options) == 1 else {"anyOf": options}
    if several:
        one = {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_CALLS}
    return {**one, "$defs": definitions}


def rebased(schema: Any, root: str) -> Any:
    """``schema`` with its references moved below ``root``."""
    if isinstance(schema, Mapping):
        out = {key: rebased(value, root) for key, value in schema.items()}
        ref = out.get("$ref")
        if isinstance(ref, str) and ref.startswith("#"):
            out["$ref"] = root + ref[1:]
        return out
    if isinstance(schema, list | tuple):
        return [rebased(item, root) for item in schema]
    return schema
