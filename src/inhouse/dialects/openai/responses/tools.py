"""tools and tool_choice of the Responses API.

The engine knows functions only. A custom tool is one with a single string, ``input``; a function of a
namespace has the namespace in its name. ``Offer`` says how a call of the engine's looks to the client.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ....core.errors import BadRequest, Unsupported
from ....core.events import Notice
from ....core.messages import Tool, ToolChoice
from ...fields import Fields, missing, wrong_type, wrong_value
from ...schemas import MAX_PATTERN, check_schema
from .names import within

MAX_TOOLS = 128
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}\Z", re.ASCII)
_NAME_RULE = "1 to 128 letters, digits, underscores or dashes"
# What agents declare by default beside their own functions, whatever server they talk to.
_SPARED = ("web_search", "image_generation")
_OWN = "Only tools of type 'function', 'custom' and 'namespace' are run by clients; there are no others here."


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool as the client declared it: ``custom`` takes text instead of JSON arguments."""

    name: str
    namespace: str | None = None
    custom: bool = False


@dataclass(frozen=True, slots=True)
class Toolbox:
    """``offers`` are known by the names that the engine sees; ``echo`` is how an answer shows the tools."""

    tools: tuple[Tool, ...] = ()
    offers: Mapping[str, Offer] = field(default_factory=dict)
    echo: tuple[dict[str, Any], ...] = ()
    notices: tuple[Notice, ...] = ()


def read_tools(body: Fields) -> Toolbox:
    """The tools on offer. Raises BadRequest for a type that this server does not have.

    Web search and image generation, declared beside tools of the client's own, are left out with a
    notice: agents declare them everywhere, and calling them was never certain. Alone they are refused.
    """
    found: list[tuple[Tool, Offer, str]] = []
    echo: list[dict[str, Any]] = []
    spared: list[Fields] = []
    for item in body.objects("tools", MAX_TOOLS):
        kind = item.text("type")
        if kind is None:
            missing(item.at("type"), "'function' or 'custom'")
        if kind in _SPARED:
            item.whole_object()
            spared.append(item)
            continue
        tools, shown = _READERS[kind](item) if kind in _READERS else _refuse(item)
        found += tools
        echo.append(shown)
    if spared and not found:
        _refuse(spared[0])
    offers: dict[str, Offer] = {}
    for tool, offer, param in found:
        if tool.name in offers:
            wrong_value(param, "a name that no other tool has", tool.name)
        offers[tool.name] = offer
    text = "The model was not offered '{}': this server has no such tool."
    notices = tuple(Notice("tool_not_offered", text.format(one.text("type"))) for one in spared)
    return Toolbox(tuple(tool for tool, _, _ in found), offers, tuple(echo), notices)


def _refuse(item: Fields) -> NoReturn:
    raise Unsupported(
        f"Tools of type '{str(item.text('type'))[:40]}' are not supported here.",
        hint=_OWN,
        param=item.at("type"),
    )


def _name(item: Fields) -> str:
    name = item.required_text("name")
    if not _NAME.match(name):
        wrong_value(item.at("name"), _NAME_RULE, name)
    return name


def _common(item: Fields) -> None:
    item.refuse("async", False)
    item.refuse("defer_loading", False, why="All tools are shown to the model at once.")
    item.refuse("allowed_callers", ["direct"])
    item.object("output_schema")
    item.note("output_schema")


def _function(
    item: Fields, namespace: str | None = None
) -> tuple[list[tuple[Tool, Offer, str]], dict[str, Any]]:
    name = _name(item)
    _common(item)
    parameters = item.object("parameters") or {}
    check_schema(parameters, item.at("parameters"))
    description = item.text("description")
    strict = item.flag("strict", False)
    tool = Tool(within(namespace, name), description or "", parameters, strict)
    shown = {
        "type": "function",
        "name": name,
        "description": description,
        "parameters": parameters,
        "strict": strict,
    }
    return [(tool, Offer(name, namespace), item.at("name"))], shown


def _custom(
    item: Fields, namespace: str | None = None
) -> tuple[list[tuple[Tool, Offer, str]], dict[str, Any]]:
    name = _name(item)
    _common(item)
    taken: dict[str, Any] = {"type": "string"}
    layout = item.mapping("format")
    shown: dict[str, Any] = {"type": "text"}
    if layout is not None and layout.choice("type", "text", "grammar") == "grammar":
        if layout.choice("syntax", "lark", "regex") != "regex":
            layout.refuse("syntax", "regex", why="Inside a call only regular expressions can be enforced.")
            missing(layout.at("syntax"), "'regex'")
        pattern = layout.required_text("definition")
        if len(pattern) > MAX_PATTERN:
            wrong_value(layout.at("definition"), f"at most {MAX_PATTERN} characters")
        taken["pattern"] = f"^(?:{pattern})$"
        shown = {"type": "grammar", "syntax": "regex", "definition": pattern}
    parameters = {
        "type": "object",
        "properties": {"input": taken},
        "required": ["input"],
        "additionalProperties": False,
    }
    description = item.text("description")
    tool = Tool(within(namespace, name), description or "", parameters, True)
    echo: dict[str, Any] = {"type": "custom", "name": name, "format": shown}
    if description is not None:
        echo["description"] = description
    return [(tool, Offer(name, namespace, custom=True), item.at("name"))], echo


def _namespace(item: Fields) -> tuple[list[tuple[Tool, Offer, str]], dict[str, Any]]:
    name = _name(item)
    description = item.text("description")
    found: list[tuple[Tool, Offer, str]] = []
    shown = []
    for inner in item.objects("tools", MAX_TOOLS):
        kind = inner.text("type")
        if kind not in ("function", "custom"):
            _refuse(inner)
        tools, echo = (_custom if kind == "custom" else _function)(inner, name)
        found += tools
        shown.append(echo)
    return found, {"type": "namespace", "name": name, "description": description or "", "tools": shown}


_READERS = {"function": _function, "custom": _custom, "namespace": _namespace}


def read_tool_choice(body: Fields, box: Toolbox) -> tuple[tuple[Tool, ...], ToolChoice, Any]:
    """The tools that may be called, the choice among them, and how an answer shows it."""
    value = body.get("tool_choice")
    if value is None:
        return box.tools, ToolChoice(), "auto"
    tools, shown = box.tools, value
    if isinstance(value, str):
        choice = _mode(value, "tool_choice")
    elif isinstance(value, dict):
        tools, choice, shown = _object(Fields(value, "tool_choice"), box)
    else:
        wrong_type("tool_choice", "'none', 'auto', 'required' or an object", value)
    if choice.mode == "required" and not tools:
        raise BadRequest(
            "'tool_choice' needs tools.", hint="Send tools, or leave it out.", param="tool_choice"
        )
    return tools, choice, shown


def _mode(value: str, param: str) -> ToolChoice:
    match value:
        case "none" | "auto" | "required":
            return ToolChoice(value)
        case _:
            wrong_value(param, "'none', 'auto', 'required' or an object", value)


def _object(choice: Fields, box: Toolbox) -> tuple[tuple[Tool, ...], ToolChoice, dict[str, Any]]:
    kind = choice.text("type")
    if kind is None:
        missing(choice.at("type"), "'function', 'custom' or 'allowed_tools'")
    if kind == "allowed_tools":
        return _allowed(choice, box)
    if kind not in ("function", "custom"):
        choice.refuse("type", why=_OWN)
    name, shown = _known(choice, kind, box)
    return box.tools, ToolChoice("required", name), shown


def _known(choice: Fields, kind: str, box: Toolbox) -> tuple[str, dict[str, Any]]:
    """The engine's name of a tool that is named by its type and name."""
    wanted, space = choice.required_text("name"), choice.text("namespace")
    for known, offer in box.offers.items():
        same_space = space is None or offer.namespace == space
        if offer.name == wanted and offer.custom == (kind == "custom") and same_space:
            shown = {"type": kind, "name": wanted} | ({"namespace": space} if space else {})
            return known, shown
    wrong_value(choice.at("name"), "the name of one of the tools", wanted)


def _allowed(choice: Fields, box: Toolbox) -> tuple[tuple[Tool, ...], ToolChoice, dict[str, Any]]:
    mode = choice.choice("mode", "auto", "required")
    if mode is None:
        missing(choice.at("mode"), "'auto' or 'required'")
    names, shown = set(), []
    for one in choice.objects("tools", MAX_TOOLS):
        kind = one.text("type")
        if kind not in ("function", "custom"):
            _refuse(one)
        name, echo = _known(one, kind, box)
        names.add(name)
        shown.append(echo)
    if not names:
        wrong_value(choice.at("tools"), "at least one tool")
    tools = tuple(tool for tool in box.tools if tool.name in names)
    return tools, _mode(mode, choice.at("mode")), {"type": "allowed_tools", "mode": mode, "tools": shown}
