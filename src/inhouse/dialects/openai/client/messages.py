"""Core messages as OpenAI's wire writes them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from ....core.errors import BadRequest, Unsupported
from ....core.messages import Image, Message, Part, Reasoning, Text, Tool, ToolCall, ToolChoice, ToolResult
from .features import need


def encode_messages(messages: tuple[Message, ...], takes: frozenset[str]) -> list[dict[str, Any]]:
    """All messages in order. A call without an id gets one, and so does the result that answers it.

    Raises BadRequest for a conversation that nobody takes, Unsupported for parts that the server does not.
    """
    if not messages:
        raise BadRequest("There are no messages.", hint="Send at least one.", param="messages")
    last = messages[-1]
    if last.role == "assistant":
        if any(isinstance(part, ToolCall) for part in last.parts):
            raise BadRequest(
                "The last message calls tools, but their results are missing.",
                hint="Add a tool message for each call.",
                param="messages",
            )
        need(takes, "continue_final_message", "messages", hint="End with a message of the user.")
    return _Writer(takes).all(messages)


class _Writer:
    def __init__(self, takes: frozenset[str]) -> None:
        self._takes = takes
        self._open: list[ToolCall] = []
        self._made = 0

    def all(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        for message in messages:
            out += [self._result(part) for part in message.parts if isinstance(part, ToolResult)]
            if not message.parts or any(not isinstance(part, ToolResult) for part in message.parts):
                out.append(self._message(message))
        return out

    def _message(self, message: Message) -> dict[str, Any]:
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        content = self._content(message.parts)
        out: dict[str, Any] = {"role": message.role, "content": None if calls and not content else content}
        if message.name:
            out["name"] = message.name
        # What a model thought in earlier turns is left out by the templates themselves, and OpenAI's own
        # wire has no field for it: only servers that know one are told.
        thought = "".join(part.text for part in message.parts if isinstance(part, Reasoning))
        if thought and "past_reasoning" in self._takes:
            out["reasoning_content"] = thought
        if calls:
            need(self._takes, "tools", "messages", hint="Leave calls and their results out.")
            out["tool_calls"] = [self._call(call) for call in calls]
        return out

    def _call(self, call: ToolCall) -> dict[str, Any]:
        if not call.id:
            call = ToolCall(f"call_{self._made}", call.name, call.arguments)
        self._made += 1
        self._open.append(call)
        function = {"name": call.name, "arguments": call.arguments or "{}"}
        return {"id": call.id, "type": "function", "function": function}

    def _result(self, part: ToolResult) -> dict[str, Any]:
        """A tool message; a result without an id answers the first open call of its name, or any."""
        need(self._takes, "tools", "messages", hint="Leave calls and their results out.")
        if part.images:
            raise Unsupported(
                "Images in the result of a tool cannot be passed on to this engine.",
                hint="Put them into a message of the user.",
                param="messages",
            )
        ident = part.call_id
        if ident is None:
            named = [call for call in self._open if call.name == part.name]
            call = next(iter(named or ([] if part.name else self._open)), None)
            ident = call.id if call else "call_0"
        self._open = [call for call in self._open if call.id != ident]
        return {"role": "tool", "tool_call_id": ident, "content": part.text}

    def _content(self, parts: Sequence[Part]) -> str | list[dict[str, Any]]:
        """Text, or a list of parts where there are images."""
        if not any(isinstance(part, Image) for part in parts):
            return "".join(part.text for part in parts if isinstance(part, Text))
        need(self._takes, "images", "messages", hint="Leave the images out.")
        out: list[dict[str, Any]] = []
        for part in parts:
            if isinstance(part, Text):
                out.append({"type": "text", "text": part.text})
            elif isinstance(part, Image):
                url = f"data:{part.mime};base64,{base64.b64encode(part.data).decode()}"
                out.append({"type": "image_url", "image_url": {"url": url}})
        return out


def encode_tools(
    tools: tuple[Tool, ...], choice: ToolChoice, parallel: bool | None, takes: frozenset[str]
) -> dict[str, Any]:
    """tools, tool_choice and parallel_tool_calls. Raises Unsupported where the server reads no calls."""
    if not tools:
        if choice.mode == "required":
            raise BadRequest("tool_choice asks for a call, but there are no tools.", param="tool_choice")
        return {}
    need(
        takes,
        "tools",
        "tools",
        hint="It reads no calls out of what a model writes. Convert the model to GGUF: llama.cpp does.",
    )
    body: dict[str, Any] = {"tools": [_tool(tool) for tool in tools]}
    if choice.mode == "none":
        body["tool_choice"] = "none"
    elif choice.mode == "required":
        need(takes, "tool_choice", "tool_choice", hint='Send "auto".')
        named = {"type": "function", "function": {"name": choice.name}}
        body["tool_choice"] = named if choice.name else "required"
    if parallel is not None:
        need(takes, "parallel_tool_calls", "parallel_tool_calls")
        body["parallel_tool_calls"] = parallel
    return body


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = tool.parameters
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}
