"""Messages of /v1/chat/completions -> core messages.

Documented handling of odd orders: a tool message must answer a call that an assistant message before
it made (400 otherwise); any other order of roles is passed on as it is.
"""

from __future__ import annotations

from ...core.errors import BadRequest, Unsupported
from ...core.messages import Image, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult
from ..fields import Fields, missing, wrong_type, wrong_value
from ..images import MAX_IMAGES, from_url
from ..roles import MAX_CALLS, MAX_MESSAGES, ROLES

MAX_PARTS = 10_000


def read_messages(body: Fields) -> tuple[Message, ...]:
    """The conversation. Raises BadRequest with the path of what is wrong."""
    if not body.has("messages"):
        missing("messages", "an array of messages")
    calls: dict[str, str] = {}
    messages = tuple(_message(item, calls) for item in body.objects("messages", MAX_MESSAGES))
    if not messages:
        wrong_value("messages", "at least one message")
    if sum(isinstance(part, Image) for m in messages for part in m.parts) > MAX_IMAGES:
        wrong_value("messages", f"at most {MAX_IMAGES} images")
    return messages


def _message(item: Fields, calls: dict[str, str]) -> Message:
    written = item.text("role")
    if written is None:
        missing(item.at("role"), "the role of the message")
    role = ROLES.get(written)
    if role is None:
        if written == "function":
            item.refuse("role", why="Use tools and messages with role 'tool'.")
        wrong_value(item.at("role"), "'system', 'developer', 'user', 'assistant' or 'tool'", written)
    if role == "tool":
        return Message(role, (_tool_result(item, calls),))
    parts = _assistant(item, calls) if role == "assistant" else _content(item, role)
    return Message(role, parts, item.text("name"))


def _content(item: Fields, role: Role) -> tuple[Part, ...]:
    value = item.get("content")
    if value is None:
        missing(item.at("content"), "a string or an array of parts")
    if isinstance(value, str):
        return (Text(value),)
    if not isinstance(value, list):
        wrong_type(item.at("content"), "a string or an array of parts", value)
    parts = tuple(_part(part, role) for part in item.objects("content", MAX_PARTS))
    if not parts:
        wrong_value(item.at("content"), "at least one part")
    return parts


def _part(part: Fields, role: Role) -> Part:
    kind = part.text("type")
    if kind is None:
        missing(part.at("type"), "the type of the part")
    if kind == "text" or (kind == "refusal" and role == "assistant"):
        text = part.text(kind)
        if text is None:
            missing(part.at(kind), "a string")
        return Text(text)
    if kind == "image_url" and role == "user":
        return _image(part)
    if kind in ("input_audio", "file"):
        raise Unsupported(
            f"Parts of type '{kind}' are not supported here.",
            hint="Send text, or images as data: URIs.",
            param=part.at("type"),
        )
    allowed = {"user": "'text' or 'image_url'", "assistant": "'text' or 'refusal'"}.get(role, "'text'")
    wrong_value(part.at("type"), allowed, kind)


def _image(part: Fields) -> Image:
    value = part.get("image_url")
    if isinstance(value, str):
        return from_url(value, part.at("image_url"))
    image = part.mapping("image_url")
    if image is None:
        missing(part.at("image_url"), "an object with a url")
    image.choice("detail", "auto", "low", "high", "original")
    image.note("detail")
    return from_url(image.required_text("url"), image.at("url"))


def _assistant(item: Fields, calls: dict[str, str]) -> tuple[Part, ...]:
    for legacy in ("function_call", "audio"):
        item.refuse(legacy, why="Use tool_calls." if legacy == "function_call" else "")
    parts: list[Part] = []
    thought = item.text("reasoning_content") or item.text("reasoning")
    if thought:
        parts.append(Reasoning(thought))
    if item.has("content"):
        parts.extend(_content(item, "assistant"))
    refusal = item.text("refusal")
    if refusal:
        parts.append(Text(refusal))
    for call in item.objects("tool_calls", MAX_CALLS):
        parts.append(_tool_call(call, calls))
    if not parts:
        missing(item.at("content"), "content or tool_calls")
    return tuple(parts)


def _tool_call(call: Fields, calls: dict[str, str]) -> ToolCall:
    if call.text("type") not in (None, "function"):
        call.refuse("type", why="Only function calls are supported.")
    function = call.mapping("function")
    if function is None:
        missing(call.at("function"), "an object with name and arguments")
    ident, name = call.required_text("id"), function.required_text("name")
    arguments = function.text("arguments")
    if arguments is None:
        missing(function.at("arguments"), "a string of JSON")
    calls[ident] = name
    return ToolCall(ident, name, arguments)


def _tool_result(item: Fields, calls: dict[str, str]) -> ToolResult:
    ident = item.required_text("tool_call_id")
    if ident not in calls:
        raise BadRequest(
            f"Invalid value for '{item.at('tool_call_id')}': no assistant message before it made this call.",
            hint="A message with role 'tool' must follow the assistant message with its tool_calls.",
            param=item.at("tool_call_id"),
        )
    text = "".join(p.text for p in _content(item, "tool") if isinstance(p, Text))
    return ToolResult(text, ident, calls[ident])
