"""tools and tool_choice of /v1/chat/completions, and the functions and function_call before them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ...core.errors import BadRequest, Unsupported
from ...core.messages import Tool, ToolChoice
from ..fields import Fields, missing, wrong_type, wrong_value
from ..schemas import check_schema
from .calls import CallStyle

MAX_TOOLS = 128
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z", re.ASCII)
_NAME_RULE = "1 to 64 letters, digits, underscores or dashes"
_INPUT: dict[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools on offer, which of them to use, and how calls are written in the answer."""

    tools: tuple[Tool, ...] = ()
    choice: ToolChoice = field(default_factory=ToolChoice)
    parallel: bool | None = None
    style: CallStyle = field(default_factory=CallStyle)


def read_toolbox(body: Fields) -> Toolbox:
    """Everything about tools. A custom tool becomes a function of one text, ``input``."""
    parallel = body.flag("parallel_tool_calls")
    if body.has("functions") or body.has("function_call"):
        return _functions(body, parallel)
    tools, custom = _tools(body)
    allowed, choice = _read_choice(body, tools)
    if choice.mode == "required" and not tools:
        raise BadRequest(
            "'tool_choice' needs tools.", hint="Send tools, or leave it out.", param="tool_choice"
        )
    return Toolbox(allowed, choice, parallel, CallStyle(custom))


def _tools(body: Fields) -> tuple[tuple[Tool, ...], frozenset[str]]:
    """The tools, their names unique, and the names of the custom ones."""
    tools: dict[str, Tool] = {}
    custom = set()
    for item in body.objects("tools", MAX_TOOLS):
        kind = item.text("type")
        if kind is None:
            missing(item.at("type"), "'function' or 'custom'")
        if kind not in ("function", "custom"):
            item.refuse("type", why="Only tools of type 'function' and 'custom' are supported.")
        inner = item.mapping(kind)
        if inner is None:
            missing(item.at(kind), "an object with the name of the tool")
        tool = _function(inner) if kind == "function" else _custom(inner)
        if tool.name in tools:
            wrong_value(inner.at("name"), "a name that no other tool has", tool.name)
        tools[tool.name] = tool
        if kind == "custom":
            custom.add(tool.name)
    return tuple(tools.values()), frozenset(custom)


def _function(function: Fields) -> Tool:
    name = _name(function)
    parameters = function.object("parameters") or {}
    check_schema(parameters, function.at("parameters"))
    return Tool(name, function.text("description") or "", parameters, function.flag("strict", False))


def _custom(custom: Fields) -> Tool:
    name = _name(custom)
    form = custom.mapping("format")
    if form is not None and form.choice("type", "text", "grammar") == "grammar":
        raise Unsupported(
            f"'{custom.at('format')}' is not supported here as a grammar.",
            hint="Use a function whose parameters have a pattern.",
            param=custom.at("format"),
        )
    return Tool(name, custom.text("description") or "", _INPUT)


def _name(fields: Fields) -> str:
    name = fields.required_text("name")
    if not _NAME.match(name):
        wrong_value(fields.at("name"), _NAME_RULE, name)
    return name


def _read_choice(body: Fields, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], ToolChoice]:
    """none, auto, required, one by name, or some of them; the tools that are left, and the choice."""
    value = body.get("tool_choice")
    if value is None:
        return tools, ToolChoice()
    if isinstance(value, str):
        return tools, _mode(value)
    if not isinstance(value, dict):
        wrong_type("tool_choice", "'none', 'auto', 'required' or an object", value)
    choice = body.mapping("tool_choice")
    assert choice is not None  # noqa: S101  # it is an object, see above
    kind = choice.text("type")
    if kind == "allowed_tools":
        return _allowed(choice, tools)
    if kind not in ("function", "custom"):
        choice.refuse("type", why="Use 'function', 'custom' or 'allowed_tools'.")
        missing(choice.at("type"), "'function', 'custom' or 'allowed_tools'")
    return tools, ToolChoice("required", _named(choice, kind, tools))


def _mode(value: str) -> ToolChoice:
    match value:
        case "none" | "auto" | "required":
            return ToolChoice(value)
        case _:
            wrong_value("tool_choice", "'none', 'auto', 'required' or an object", value)


def _named(choice: Fields, kind: str, tools: tuple[Tool, ...]) -> str:
    inner = choice.mapping(kind)
    if inner is None:
        missing(choice.at(kind), "an object with the name of the tool")
    name = inner.required_text("name")
    if tools and all(tool.name != name for tool in tools):
        wrong_value(inner.at("name"), "the name of one of the tools", name)
    return name


def _allowed(choice: Fields, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], ToolChoice]:
    allowed = choice.mapping("allowed_tools")
    if allowed is None:
        missing(choice.at("allowed_tools"), "an object with mode and tools")
    mode = allowed.choice("mode", "auto", "required")
    if mode is None:
        missing(allowed.at("mode"), "'auto' or 'required'")
    names = set()
    for item in allowed.objects("tools", MAX_TOOLS):
        kind = item.choice("type", "function", "custom")
        if kind is None:
            missing(item.at("type"), "'function' or 'custom'")
        names.add(_named(item, kind, tools))
    if not names:
        missing(allowed.at("tools"), "at least one tool")
    return tuple(tool for tool in tools if tool.name in names), _mode(mode)


def _functions(body: Fields, parallel: bool | None) -> Toolbox:
    """The deprecated fields. There is at most one call in an answer, without an id."""
    for newer in ("tools", "tool_choice"):
        body.refuse(newer, why="Send tools and tool_choice, or functions and function_call, not both.")
    if parallel:
        wrong_value("parallel_tool_calls", "it only with tools")
    functions = tuple(_function(item) for item in body.objects("functions", MAX_TOOLS))
    if not functions:
        missing("functions", "the functions that may be called")
    names = {tool.name for tool in functions}
    if len(names) < len(functions):
        wrong_value("functions", "names that no other function has")
    return Toolbox(functions, _function_choice(body, names), False, CallStyle(legacy=True))


def _function_choice(body: Fields, names: set[str]) -> ToolChoice:
    value = body.get("function_call")
    if value is None or value == "auto":
        return ToolChoice()
    if value == "none":
        return ToolChoice("none")
    if not isinstance(value, dict):
        wrong_value("function_call", "'none', 'auto' or an object with a name")
    name = Fields(value, "function_call").required_text("name")
    if name not in names:
        wrong_value("function_call.name", "the name of one of the functions", name)
    return ToolChoice("required", name)
