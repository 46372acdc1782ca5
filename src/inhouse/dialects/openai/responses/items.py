"""Input items of the Responses API: how they are kept, and the conversation that they are.

Whatever the assistant did in a row (reasoning, a message, calls) is one assistant message; each result
of a call is a tool message. A result must answer a call before it; a call may stay unanswered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ....core.errors import BadRequest, Unsupported
from ....core.messages import Image, Message, Part, Reasoning, Remote, Text, ToolCall, ToolResult
from ...fields import Fields, missing, wrong_type, wrong_value
from ...images import MAX_IMAGES
from ...roles import MAX_MESSAGES, ROLES
from .content import Bag, read_content
from .names import PREFIXES, item_id, within
from .sealed import unseal

MAX_ID = 256
REFERENCE = "item_reference"
Placed = tuple[str, Mapping[str, Any]]  # the path of an item, for errors, and the item


def kept_form(value: Any, path: str) -> dict[str, Any]:
    """An item as it is kept and listed: with type, id and status. Raises BadRequest for other types."""
    if not isinstance(value, dict):
        wrong_type(path, "an object", value)
    item = Fields(value, path)
    kind = item.text("type")
    if kind is None:
        kind = REFERENCE if item.has("id") and not item.has("role") else "message"
    ident = item.text("id", longest=MAX_ID)
    if kind == REFERENCE:
        return {"type": REFERENCE, "id": ident or missing(item.at("id"), "the id of an item")}
    if kind not in PREFIXES:
        raise Unsupported(
            f"Items of type '{kind[:40]}' are not supported here.",
            hint="Send messages, reasoning, calls of functions and custom tools, and their outputs.",
            param=item.at("type"),
        )
    status = item.choice("status", "in_progress", "completed", "incomplete")
    kept = {**value, "type": kind, "id": ident or item_id(kind)}
    if kind != "reasoning" or status:
        kept["status"] = status or "completed"
    if kind == "message":
        kept["content"] = _parts_of(item)
    if kind == "reasoning":
        _thoughts(item)
    return kept


def _parts_of(item: Fields) -> Any:
    """The content of a message as parts."""
    content = item.get("content")
    if not isinstance(content, str):
        return content
    if item.get("role") == "assistant":
        return [{"type": "output_text", "text": content, "annotations": []}]
    return [{"type": "input_text", "text": content}]


def kept_input(body: Fields, name: str = "input") -> tuple[dict[str, Any], ...]:
    """The new items of a request: of a string, or of an array of items."""
    value = body.get(name)
    if value is None:
        return ()
    if isinstance(value, str):
        return (kept_form({"role": "user", "content": value}, name),)
    if not isinstance(value, list):
        wrong_type(name, "a string or an array of items", value)
    if len(value) > MAX_MESSAGES:
        wrong_value(name, f"at most {MAX_MESSAGES} items", len(value))
    return tuple(kept_form(item, f"{name}[{i}]") for i, item in enumerate(value))


def messages_of(instructions: str | None, items: Iterable[Placed], bag: Bag) -> tuple[Message, ...]:
    """The conversation. Raises BadRequest with the path of what is wrong."""
    reader = _Reader(bag)
    if instructions:
        reader.messages.append(Message("system", (Text(instructions),)))
    for path, item in items:
        reader.take(Fields(item, path))
    messages = reader.done()
    if not messages:
        missing("input", "a string or items")
    if sum(_pictures(part) for message in messages for part in message.parts) > MAX_IMAGES:
        wrong_value("input", f"at most {MAX_IMAGES} images")
    return messages


def _pictures(part: Part) -> int:
    if isinstance(part, ToolResult):
        return len(part.images)
    return isinstance(part, Image) or (isinstance(part, Remote) and part.kind == "image")


class _Reader:
    """Collects the parts of one assistant message until something else comes."""

    def __init__(self, bag: Bag) -> None:
        self.messages: list[Message] = []
        self._bag = bag
        self._parts: list[Part] = []
        self._calls: dict[str, str] = {}
        self._readers: dict[str, Callable[[Fields], None]] = {
            "message": self._message,
            "reasoning": self._reasoning,
            "function_call": self._function_call,
            "custom_tool_call": self._custom_call,
            "function_call_output": self._output,
            "custom_tool_call_output": self._output,
        }

    def take(self, item: Fields) -> None:
        self._readers[item.required_text("type")](item)

    def done(self) -> tuple[Message, ...]:
        if self._parts:
            self.messages.append(Message("assistant", tuple(self._parts)))
            self._parts = []
        return tuple(self.messages)

    def _message(self, item: Fields) -> None:
        written = item.text("role")
        if written is None:
            missing(item.at("role"), "the role of the message")
        role = ROLES.get(written)
        if role is None or role == "tool":
            wrong_value(item.at("role"), "'user', 'assistant', 'system' or 'developer'", written)
        parts = read_content(item, "content", self._bag)
        if role == "assistant":
            if any(isinstance(part, Text) for part in self._parts):
                self.done()
            self._parts += parts
            return
        if not parts:
            wrong_value(item.at("content"), "at least one part")
        self.done()
        self.messages.append(Message(role, parts))

    def _reasoning(self, item: Fields) -> None:
        sealed, content, summary = _thoughts(item)
        text = unseal(sealed)
        foreign = sealed if text is None else ""
        if text is None:
            text = content or summary
        if text:
            self._parts.append(Reasoning(text, foreign))

    def _function_call(self, item: Fields) -> None:
        arguments = item.text("arguments")
        if arguments is None:
            missing(item.at("arguments"), "a string of JSON")
        self._call(item, arguments)

    def _custom_call(self, item: Fields) -> None:
        text = item.text("input")
        if text is None:
            missing(item.at("input"), "a string")
        self._call(item, json.dumps({"input": text}, ensure_ascii=False))

    def _call(self, item: Fields, arguments: str) -> None:
        ident = item.required_text("call_id")
        name = within(item.text("namespace"), item.required_text("name"))
        self._calls[ident] = name
        self._parts.append(ToolCall(ident, name, arguments))

    def _output(self, item: Fields) -> None:
        ident = item.required_text("call_id")
        if ident not in self._calls:
            raise BadRequest(
                f"No tool call found for function call output with call_id {ident[:80]}.",
                hint="Send the call as well, before its output, or continue from the response that made it.",
                param=item.at("call_id"),
            )
        parts = read_content(item, "output", self._bag)
        text = "".join(part.text for part in parts if isinstance(part, Text))
        images = tuple(part for part in parts if isinstance(part, Image | Remote))
        self.done()
        self.messages.append(Message("tool", (ToolResult(text, ident, self._calls[ident], images),)))


def _thoughts(item: Fields) -> tuple[str, str, str]:
    """A reasoning item's sealed text, its content and its summary. Raises BadRequest."""
    return item.text("encrypted_content") or "", _joined(item, "content"), _joined(item, "summary")


def _joined(item: Fields, name: str) -> str:
    return "\n\n".join(part.text("text") or "" for part in item.objects(name, 1000))
