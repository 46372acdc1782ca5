"""Messages of /v1/chat/completions -> core messages.

Documented handling of odd orders: a tool message must answer a call that an assistant message before
it made (400 otherwise); any other order of roles is passed on as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from ...core.errors import BadRequest
from ...core.messages import Image, Message, Part, Reasoning, Remote, Role, Text, ToolCall, ToolResult
from ..fields import Fields, missing, wrong_type, wrong_value
from ..images import MAX_IMAGES
from ..roles import MAX_CALLS, MAX_MESSAGES, ROLES
from .hints import read_breakpoint
from .parts import MAX_PARTS, read_part


@dataclass(frozen=True, slots=True)
class Conversation:
    """``pin``: seconds for which its parts ask the prompt to be wanted again; None when none does."""

    messages: tuple[Message, ...]
    pin: float | None = None


def read_messages(body: Fields) -> Conversation:
    """The conversation. Raises BadRequest with the path of what is wrong."""
    if not body.has("messages"):
        missing("messages", "an array of messages")
    reader = _Reader()
    messages = tuple(reader.message(item) for item in body.objects("messages", MAX_MESSAGES))
    if not messages:
        wrong_value("messages", "at least one message")
    check_images(messages)
    return Conversation(messages, max(reader.pins, default=None))


def check_images(messages: Iterable[Message]) -> None:
    """Raise BadRequest for too many images."""
    images = (part for m in messages for part in m.parts if isinstance(part, Image | Remote))
    if sum(isinstance(part, Image) or part.kind == "image" for part in images) > MAX_IMAGES:
        wrong_value("messages", f"at most {MAX_IMAGES} images")


def prefilled(messages: tuple[Message, ...]) -> bool:
    """Whether the answer goes on where the last message ends."""
    return messages[-1].role == "assistant"


class _Reader:
    """Reads one message after another; remembers the calls that were made."""

    def __init__(self) -> None:
        self.pins: list[float] = []
        self._calls: dict[str, str] = {}
        self._functions: dict[str, str] = {}

    def message(self, item: Fields) -> Message:
        written = item.text("role")
        if written is None:
            missing(item.at("role"), "the role of the message")
        if written == "function":
            return Message("tool", (self._function_result(item),))
        role = ROLES.get(written)
        if role is None:
            wrong_value(item.at("role"), "'system', 'developer', 'user', 'assistant' or 'tool'", written)
        if role == "tool":
            return Message(role, (self._tool_result(item),))
        parts = self._assistant(item) if role == "assistant" else self._content(item, role)
        return Message(role, parts, item.text("name"))

    def _content(self, item: Fields, role: Role) -> tuple[Part, ...]:
        value = item.get("content")
        if value is None:
            missing(item.at("content"), "a string or an array of parts")
        if isinstance(value, str):
            return (Text(value),)
        if not isinstance(value, list):
            wrong_type(item.at("content"), "a string or an array of parts", value)
        parts = []
        for part in item.objects("content", MAX_PARTS):
            parts.append(read_part(part, role))
            pin = read_breakpoint(part)
            if pin is not None:
                self.pins.append(pin)
        if not parts:
            wrong_value(item.at("content"), "at least one part")
        return tuple(parts)

    def _assistant(self, item: Fields) -> tuple[Part, ...]:
        item.refuse("audio")
        parts: list[Part] = []
        thought = item.text("reasoning_content") or item.text("reasoning")
        if thought:
            parts.append(Reasoning(thought))
        if item.has("content"):
            parts.extend(self._content(item, "assistant"))
        refusal = item.text("refusal")
        if refusal:
            parts.append(Text(refusal))
        for call in item.objects("tool_calls", MAX_CALLS):
            parts.append(self._tool_call(call))
        old = item.mapping("function_call")
        if old is not None:
            parts.append(self._function_call(old))
        if not parts:
            missing(item.at("content"), "content or tool_calls")
        return tuple(parts)

    def _tool_call(self, call: Fields) -> ToolCall:
        kind = call.choice("type", "function", "custom") or "function"
        inner = call.mapping(kind)
        if inner is None:
            missing(call.at(kind), "an object with the name of what was called")
        ident, name = call.required_text("id"), inner.required_text("name")
        field = "arguments" if kind == "function" else "input"
        arguments = inner.text(field)
        if arguments is None:
            missing(inner.at(field), "a string of JSON" if kind == "function" else "a string")
        if kind == "custom":
            arguments = json.dumps({"input": arguments}, ensure_ascii=False)
        self._calls[ident] = name
        return ToolCall(ident, name, arguments)

    def _function_call(self, call: Fields) -> ToolCall:
        """The deprecated way: one call in a message, without an id."""
        name, arguments = call.required_text("name"), call.text("arguments")
        if arguments is None:
            missing(call.at("arguments"), "a string of JSON")
        ident = f"call_function_{len(self._calls)}"
        self._calls[ident], self._functions[name] = name, ident
        return ToolCall(ident, name, arguments)

    def _tool_result(self, item: Fields) -> ToolResult:
        ident = item.required_text("tool_call_id")
        if ident not in self._calls:
            _unasked(item, "tool_call_id")
        item.note("name")
        return ToolResult(self._result_text(item), ident, self._calls[ident])

    def _function_result(self, item: Fields) -> ToolResult:
        name = item.required_text("name")
        if name not in self._functions:
            _unasked(item, "name")
        return ToolResult(self._result_text(item), self._functions[name], name)

    def _result_text(self, item: Fields) -> str:
        return "".join(part.text for part in self._content(item, "tool") if isinstance(part, Text))


def _unasked(item: Fields, name: str) -> NoReturn:
    raise BadRequest(
        f"Invalid value for '{item.at(name)}': no assistant message before it made this call.",
        hint="A message with a result must follow the assistant message with its call.",
        param=item.at(name),
    )
