"""Messages as llama-server's chat template receives them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...core.errors import BadRequest, Unsupported
from ...core.messages import Image, Message, Part, Reasoning, Text, ToolCall, ToolResult
from ...core.models import Card
from .escape import escape, escape_tree


def encode(messages: tuple[Message, ...], card: Card, *, native_tools: bool) -> list[dict[str, Any]]:
    """All messages; ``native_tools`` says whether the template knows calls and results.

    A template that does not gets calls as the JSON that we ask for and results as user messages.
    Raises BadRequest for a conversation that no template takes, Unsupported for images.
    """
    if not messages:
        raise BadRequest("There are no messages.", hint="Send at least one.", param="messages")
    _check_end(messages)
    out: list[dict[str, Any]] = []
    open_calls: list[ToolCall] = []
    made = 0
    for message in messages:
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        if calls:
            calls = [
                c if c.id else ToolCall(f"call_{made + i}", c.name, c.arguments) for i, c in enumerate(calls)
            ]
            made += len(calls)
            open_calls = list(calls)
        for part in message.parts:
            if isinstance(part, ToolResult):
                out.append(_result(part, open_calls, card, native_tools))
        if any(not isinstance(part, ToolResult) for part in message.parts) or not message.parts:
            out.append(_message(message, calls, card, native_tools))
    return out


def prefill(messages: tuple[Message, ...], card: Card) -> str:
    """The text of a trailing assistant message, which the answer continues."""
    last = messages[-1]
    return escape(last.text, card.control_tokens) if last.role == "assistant" else ""


def _check_end(messages: tuple[Message, ...]) -> None:
    last = messages[-1]
    if last.role != "assistant":
        return
    if any(isinstance(part, ToolCall) for part in last.parts):
        raise BadRequest(
            "The last message calls tools, but their results are missing.",
            hint="Add a tool message for each call.",
            param="messages",
        )
    if len(messages) > 1 and messages[-2].role == "assistant":
        raise BadRequest(
            "Only one assistant message may stand at the end.",
            hint="Join the last two messages.",
            param="messages",
        )


def _content(parts: Sequence[Part], card: Card) -> str | list[dict[str, Any]]:
    """Text, or a list of parts where there are images."""
    if not any(isinstance(part, Image) for part in parts):
        return escape("".join(p.text for p in parts if isinstance(p, Text)), card.control_tokens)
    if "vision" not in card.capabilities:
        raise Unsupported("This model cannot see images.", hint="Use a vision model.", param="messages")
    out: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, Text):
            out.append({"type": "text", "text": escape(part.text, card.control_tokens)})
        elif isinstance(part, Image):
            url = f"data:{part.mime};base64,{base64.b64encode(part.data).decode()}"
            out.append({"type": "image_url", "image_url": {"url": url}})
    return out


def _message(message: Message, calls: list[ToolCall], card: Card, native_tools: bool) -> dict[str, Any]:
    tokens = card.control_tokens
    out: dict[str, Any] = {"role": message.role, "content": _content(message.parts, card)}
    if message.name:
        out["name"] = escape(message.name, tokens)
    reasoning = "".join(part.text for part in message.parts if isinstance(part, Reasoning))
    if reasoning:
        out["reasoning_content"] = escape(reasoning, tokens)
    if not calls:
        return out
    if native_tools:
        out["tool_calls"] = [
            {
                "id": escape(call.id, tokens),
                "type": "function",
                "function": {
                    "name": escape(call.name, tokens),
                    "arguments": json.dumps(escape_tree(_arguments(call), tokens), ensure_ascii=False),
                },
            }
            for call in calls
        ]
        return out
    written = "\n".join(
        json.dumps({"name": call.name, "arguments": _arguments(call)}, ensure_ascii=False) for call in calls
    )
    said = escape(message.text, tokens)
    out["content"] = f"{said}\n{escape(written, tokens)}" if said else escape(written, tokens)
    return out


def _arguments(call: ToolCall) -> Any:
    """The arguments as an object: templates take them apart."""
    try:
        value = json.loads(call.arguments or "{}")
    except ValueError:
        return {"input": call.arguments}
    return value if isinstance(value, Mapping) else {"input": value}


def _result(part: ToolResult, open_calls: list[ToolCall], card: Card, native_tools: bool) -> dict[str, Any]:
    """A tool message; a result without an id answers the first open call of its name, or any."""
    call = next((c for c in open_calls if part.call_id and c.id == part.call_id), None)
    if call is None and not part.call_id:
        named = [c for c in open_calls if c.name == part.name]
        call = next(iter(named or ([] if part.name else open_calls)), None)
    if call is not None:
        open_calls.remove(call)
    name = part.name or (call.name if call else "")
    if not native_tools:
        shown = Text(f"Result of {name or 'the function'}:\n{part.text}")
        return {"role": "user", "content": _content((shown, *part.images), card)}
    text = _content((Text(part.text), *part.images), card)
    out: dict[str, Any] = {"role": "tool", "content": text}
    out["tool_call_id"] = escape(part.call_id or (call.id if call else "call_0"), card.control_tokens)
    if name:
        out["name"] = escape(name, card.control_tokens)
    return out
