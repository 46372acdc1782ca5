"""tools, tool_choice and response_format of /v1/chat/completions."""

from __future__ import annotations

import re

from ...core.errors import BadRequest
from ...core.messages import Format, Tool, ToolChoice
from ..fields import Fields, missing, wrong_type, wrong_value
from ..schemas import check_schema

MAX_TOOLS = 128
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z", re.ASCII)
_NAME_RULE = "1 to 64 letters, digits, underscores or dashes"


def read_tools(body: Fields) -> tuple[Tool, ...]:
    """The functions on offer; their names are unique."""
    tools = tuple(_tool(item) for item in body.objects("tools", MAX_TOOLS))
    names = set()
    for i, tool in enumerate(tools):
        if tool.name in names:
            wrong_value(f"tools[{i}].function.name", "a name that no other tool has", tool.name)
        names.add(tool.name)
    return tools


def _tool(item: Fields) -> Tool:
    kind = item.text("type")
    if kind is None:
        missing(item.at("type"), "'function'")
    if kind != "function":
        item.refuse("type", why="Only tools of type 'function' are supported.")
    function = item.mapping("function")
    if function is None:
        missing(item.at("function"), "an object with the name of the function")
    name = _name(function)
    parameters = function.object("parameters") or {}
    check_schema(parameters, function.at("parameters"))
    return Tool(name, function.text("description") or "", parameters, function.flag("strict", False))


def _name(fields: Fields) -> str:
    name = fields.required_text("name")
    if not _NAME.match(name):
        wrong_value(fields.at("name"), _NAME_RULE, name)
    return name


def read_tool_choice(body: Fields, tools: tuple[Tool, ...]) -> ToolChoice:
    """none, auto, required, or one function by name. The last two need tools."""
    value = body.get("tool_choice")
    if value is None:
        return ToolChoice()
    if isinstance(value, str):
        choice = _mode(value)
    elif isinstance(value, dict):
        choice = _named(Fields(value, "tool_choice"), tools)
    else:
        wrong_type("tool_choice", "'none', 'auto', 'required' or an object", value)
    if choice.mode == "required" and not tools:
        raise BadRequest(
            "'tool_choice' needs tools.", hint="Send tools, or leave it out.", param="tool_choice"
        )
    return choice


def _mode(value: str) -> ToolChoice:
    match value:
        case "none" | "auto" | "required":
            return ToolChoice(value)
        case _:
            wrong_value("tool_choice", "'none', 'auto', 'required' or an object", value)


def _named(choice: Fields, tools: tuple[Tool, ...]) -> ToolChoice:
    if choice.text("type") != "function":
        choice.refuse("type", why="Only a choice of type 'function' is supported.")
    function = choice.mapping("function")
    if function is None:
        missing(choice.at("function"), "an object with the name of the function")
    name = function.required_text("name")
    if tools and all(tool.name != name for tool in tools):
        wrong_value(function.at("name"), "the name of one of the tools", name)
    return ToolChoice("required", name)


def read_format(body: Fields) -> Format | None:
    """text, json_object, or json_schema. A schema is always enforced, strict or not."""
    wanted = body.mapping("response_format")
    if wanted is None:
        return None
    kind = wanted.choice("type", "text", "json_object", "json_schema")
    if kind is None:
        missing(wanted.at("type"), "'text', 'json_object' or 'json_schema'")
    if kind == "text":
        return None
    if kind == "json_object":
        return Format("json")
    described = wanted.mapping("json_schema")
    if described is None:
        missing(wanted.at("json_schema"), "an object with name and schema")
    _name(described)
    described.text("description")
    described.flag("strict")
    schema = described.object("schema")
    if schema is None:
        missing(described.at("schema"), "a JSON Schema object")
    check_schema(schema, described.at("schema"))
    return Format("schema", schema)
