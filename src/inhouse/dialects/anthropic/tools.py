"""Tools and the choice among them."""

from __future__ import annotations

import re
from typing import Any

from ...core.errors import BadRequest
from ...core.messages import Tool, ToolChoice
from ..fields import Fields, missing, wrong_value
from ..schemas import check_schema
from ..wire import dumps
from .caching import Pins
from .clienttools import CLIENT_TOOLS

MAX_TOOLS = 1000
MAX_EXAMPLES = 100
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}\Z", re.ASCII)
_SERVER = "Only custom tools and bash, text_editor and memory tools run with models on this machine."


def read_tools(body: Fields, pins: Pins, referenced: set[str]) -> tuple[Tool, ...]:
    """The tools in effect; deferred ones only when a result refers to them (``referenced``)."""
    found: dict[str, Tool] = {}
    names: set[str] = set()
    for item in body.objects("tools", MAX_TOOLS):
        tool, deferred = _tool(item, pins)
        if tool.name in names:
            raise BadRequest("Tool names must be unique.", hint="Rename one.", param=item.at("name"))
        names.add(tool.name)
        if not deferred or tool.name in referenced:
            found[tool.name] = tool
    if names and not found:
        raise BadRequest("All tools have defer_loading set.", hint="Leave one without it.", param="tools")
    for name in referenced - names:
        raise BadRequest(
            f"Tool reference '{name[:128]}' not found in available tools.", hint="Define it.", param="tools"
        )
    return tuple(found.values())


def _tool(item: Fields, pins: Pins) -> tuple[Tool, bool]:
    pins.read(item)
    item.flag("eager_input_streaming")
    item.note("eager_input_streaming")  # input always streams as it is made
    if item.get("allowed_callers") not in (None, ["direct"]):
        item.refuse("allowed_callers", why="Tools are called by the model only.")
    kind = item.text("type") or "custom"
    if kind == "custom":
        name, description, schema = _custom(item)
    elif kind in CLIENT_TOOLS:
        name, description, schema = CLIENT_TOOLS[kind]
        item.choice("name", name)
        item.whole("max_characters", 1, 10**9)
        item.note("max_characters")  # the client shortens what it shows
    else:
        item.refuse("type", why=_SERVER)
    examples = [dumps(one.whole_object()).decode() for one in item.objects("input_examples", MAX_EXAMPLES)]
    if examples:
        description = "\n".join((description, "Examples of input:", *examples)).lstrip()
    return Tool(name, description, schema, item.flag("strict", False)), item.flag("defer_loading", False)


def _custom(item: Fields) -> tuple[str, str, dict[str, Any]]:
    name = item.required_text("name")
    if not _NAME.match(name):
        wrong_value(item.at("name"), "1 to 128 letters, digits, '_' or '-'", name)
    schema = item.object("input_schema")
    if schema is None:
        missing(item.at("input_schema"), "a JSON Schema object")
    if schema.get("type", "object") != "object":
        wrong_value(f"{item.at('input_schema')}.type", "'object'", schema["type"])
    check_schema(schema, item.at("input_schema"))
    return name, item.text("description") or "", schema


def read_tool_choice(body: Fields, tools: tuple[Tool, ...]) -> tuple[ToolChoice, bool | None]:
    """The choice and whether calls may be parallel (None: the model's own habit)."""
    wanted = body.mapping("tool_choice")
    if wanted is None:
        return ToolChoice(), None
    kind = wanted.choice("type", "auto", "any", "tool", "none")
    if kind is None:
        missing(wanted.at("type"), "'auto', 'any', 'tool' or 'none'")
    single = False if kind == "none" else wanted.flag("disable_parallel_tool_use", False)
    parallel = False if single else None
    if kind in ("auto", "none"):
        return ToolChoice("none" if kind == "none" else "auto"), parallel
    if not tools:
        raise BadRequest(
            "tool_choice may only be specified while providing tools.",
            hint="Send tools, or leave it out.",
            param="tool_choice",
        )
    if kind == "any":
        return ToolChoice("required"), parallel
    name = wanted.required_text("name")
    if all(tool.name != name for tool in tools):
        wrong_value(wanted.at("name"), "the name of one of the tools", name)
    return ToolChoice("required", name), parallel
