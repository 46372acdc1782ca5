"""Messages and tools of /api/chat -> core values.

A tool result may name its call by ``tool_call_id``, by ``tool_name`` (all that Ollama's Python client
can send) or not at all: then it answers the oldest call that is still open.
"""

from __future__ import annotations

from ...core.errors import BadRequest
from ...core.messages import (
    Image,
    Message,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from ..fields import Fields, check_text, missing, wrong_value
from ..images import MAX_IMAGES, from_base64
from ..roles import MAX_CALLS, MAX_MESSAGES, ROLES
from ..schemas import check_schema, nested_objects
from ..wire import dumps

MAX_TOOLS = 128


class _Calls:
    """Calls of the conversation that no tool has answered yet: (id, name), oldest first."""

    def __init__(self) -> None:
        self._open: list[tuple[str, str]] = []
        self._made = 0

    def made(self, ident: str | None, name: str) -> str:
        self._made += 1
        ident = ident or f"call_{self._made:08d}"
        self._open.append((ident, name))
        return ident

    def answered(self, ident: str | None, name: str | None) -> tuple[str | None, str | None]:
        for i, (known, called) in enumerate(self._open):
            if (ident is None or ident == known) and (name is None or name == called):
                del self._open[i]
                return known, called
        return ident, name


def read_messages(body: Fields) -> tuple[Message, ...]:
    """The conversation; empty when there is none. Raises BadRequest."""
    calls = _Calls()
    messages = tuple(_message(item, calls) for item in body.objects("messages", MAX_MESSAGES))
    if sum(isinstance(part, Image) for m in messages for part in m.parts) > MAX_IMAGES:
        wrong_value("messages", f"at most {MAX_IMAGES} images")
    return messages


def _message(item: Fields, calls: _Calls) -> Message:
    written = item.text("role")
    role = ROLES.get((written or "").lower())
    if role is None:
        wrong_value(item.at("role"), "'system', 'user', 'assistant' or 'tool'", written)
    content = item.text("content") or ""
    if role == "tool":
        ident, name = item.text("tool_call_id") or None, item.text("tool_name") or item.text("name") or None
        return Message(role, (ToolResult(content, *calls.answered(ident, name)),))
    parts: list[Part] = []
    thought = item.text("thinking")
    if thought and role == "assistant":
        parts.append(Reasoning(thought))
    parts.append(Text(content))
    parts.extend(read_images(item))
    if role == "assistant":
        parts.extend(_tool_call(call, calls) for call in item.objects("tool_calls", MAX_CALLS))
    return Message(role, tuple(parts))


def read_images(fields: Fields) -> tuple[Image, ...]:
    """``images``: base64 strings."""
    images = []
    for i, text in enumerate(fields.items("images", MAX_IMAGES) or ()):
        param = f"{fields.at('images')}[{i}]"
        images.append(from_base64(check_text(param, text), param))
    return tuple(images)


def _tool_call(call: Fields, calls: _Calls) -> ToolCall:
    function = call.mapping("function")
    if function is None:
        missing(call.at("function"), "an object with name and arguments")
    name = function.required_text("name")
    arguments = function.object("arguments") or {}
    for _ in nested_objects(arguments, function.at("arguments")):
        pass  # only its depth matters
    function.whole("index", 0, 2**31 - 1)
    return ToolCall(calls.made(call.text("id"), name), name, dumps(arguments).decode())


def read_tools(body: Fields) -> tuple[Tool, ...]:
    """The functions on offer."""
    tools = []
    for item in body.objects("tools", MAX_TOOLS):
        if item.text("type") not in (None, "", "function"):
            item.refuse("type", why="Only tools of type 'function' are supported.")
        function = item.mapping("function")
        if function is None:
            missing(item.at("function"), "an object with the name of the function")
        parameters = function.object("parameters") or {}
        check_schema(parameters, function.at("parameters"))
        name = function.required_text("name")
        if len(name) > 256:
            wrong_value(function.at("name"), "at most 256 characters")
        tools.append(Tool(name, function.text("description") or "", parameters))
    return tuple(tools)


def read_tool_choice(body: Fields, tools: tuple[Tool, ...]) -> ToolChoice:
    """Our own ``tool_choice``: ``auto``, ``none``, ``required`` or ``{"function": {"name": ...}}``."""
    value = body.get("tool_choice")
    if value is None:
        return ToolChoice()
    if not isinstance(value, dict):
        mode = body.choice("tool_choice", "auto", "none", "required")
        choice = ToolChoice(mode or "auto")  # type: ignore[arg-type]  # one of the three
    else:
        named = body.mapping("tool_choice")
        function = named.mapping("function") if named else None
        if named is None or function is None or named.text("type") not in (None, "", "function"):
            wrong_value("tool_choice", "'auto', 'none', 'required' or a function by its name")
        choice = ToolChoice("required", function.required_text("name"))
    if choice.mode == "required" and not tools:
        wrong_value("tool_choice", "'auto' or 'none' without tools")
    if choice.name is not None and choice.name not in {tool.name for tool in tools}:
        wrong_value("tool_choice.function.name", "the name of one of the tools", choice.name)
    return choice


def read_think(body: Fields) -> bool | str | None:
    """A boolean or one of four levels; None leaves it to the model."""
    value = body.get("think")
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise BadRequest(
            'think must be a boolean or string ("high", "medium", "low", "max", true, or false)',
            param="think",
        )
    if value not in ("low", "medium", "high", "max"):
        shown = value if len(value) <= 40 and value.isprintable() else "..."
        raise BadRequest(
            f'invalid think value: "{shown}" (must be "high", "medium", "low", "max", true, or false)',
            param="think",
        )
    return value


def read_logprobs(body: Fields) -> int | None:
    """Number of alternatives; None is off. ``top_logprobs`` alone does nothing, as in Ollama."""
    wanted = body.flag("logprobs", False)
    top = body.whole("top_logprobs", -(2**63), 2**63 - 1) or 0
    if not 0 <= top <= 20:
        raise BadRequest("top_logprobs must be between 0 and 20", param="top_logprobs")
    if not wanted:
        body.note("top_logprobs")
    return top if wanted else None
