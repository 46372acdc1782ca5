"""A small interpreter of Go's ``text/template``, and of the way Ollama executes chat templates with it.

Written from the documentation of ``text/template`` and shares no code with the translator: the tests let both
print the same chats. Values are Python's: dicts for structs and maps, lists, texts, numbers, None for nil.
JSON is compact and keeps the order of keys.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
from typing import Any

_SCAN = re.compile(r"\{\{(-\s)?((?:\"(?:\\.|[^\"\\])*\"|`[^`]*`|/\*.*?\*/|[^\"`])*?)(\s-)?\}\}", re.DOTALL)
_ITEM = re.compile(
    r"\"(?:\\.|[^\"\\])*\"|`[^`]*`|\$?\w*(?:\.\w+)+|\$\w*|-?\d+|\w+|\.|:=|[=|(),]|\s+", re.DOTALL
)


class Stop(Exception):
    """The template ended at ``.Response``."""


class Jump(Exception):
    """``break`` or ``continue``."""


class Struct(dict):
    """A struct: always true, unlike a map."""

    def __bool__(self) -> bool:
        return True


def run(template: str, data: dict[str, Any], *, cut: bool = False) -> str:
    """Execute once. ``cut`` ends behind the first ``{{ .Response }}``."""
    out: list[str] = []
    program = _Program(template, data, out, cut)
    with contextlib.suppress(Stop):
        program.block(program.tree, data, [{"$": data}])
    return "".join(out)


def chat(template: str, messages: list[dict[str, Any]], tools: list[Any] | None = None, **more: Any) -> str:
    """What Ollama makes of a chat in the form of the OpenAI API."""
    joined: list[dict[str, Any]] = []
    for one in messages:
        calls = one.get("tool_calls") or []
        same = joined and joined[-1]["Role"] == one["role"] != "tool"
        if same and not calls and not joined[-1]["ToolCalls"]:
            joined[-1]["Content"] += "\n\n" + (one.get("content") or "")
            continue
        joined.append(_message(one, calls))
    system = "\n\n".join(one["content"] for one in messages if one["role"] == "system")
    shared = {"Response": "", "Think": True, "ThinkLevel": "", "IsThinkSet": True, **more}
    if ".Messages" in template:
        return run(template, {"System": system, "Messages": joined, "Tools": _tools(tools), **shared})
    if ".Response" not in template:
        template += "{{ .Response }}"
    out, turn = "", {"System": "", "Prompt": "", "Response": ""}
    for one in joined:
        slot = {"system": "System", "user": "Prompt", "assistant": "Response"}.get(one["Role"])
        over = {"System": turn["Prompt"] or turn["Response"], "Prompt": turn["Response"]}.get(slot or "")
        if over:
            out += run(template, {**shared, **turn})
            turn = {"System": "", "Prompt": "", "Response": ""}
        if slot:
            turn[slot] = one["Content"]
    return out + run(template, {**shared, **turn}, cut=True)


def _message(one: dict[str, Any], calls: list[Any]) -> Struct:
    return Struct(
        Role=one["role"],
        Content=one.get("content") or "",
        Thinking=one.get("reasoning_content", ""),
        Images=[],
        ToolName=one.get("name", ""),
        ToolCallID=one.get("tool_call_id", ""),
        ToolCalls=[
            Struct(
                ID=c["id"], Function=Struct(Name=c["function"]["name"], Arguments=c["function"]["arguments"])
            )
            for c in calls
        ],
    )


class Json:
    """What prints itself as JSON: a tool."""

    def __init__(self, raw: Any, fields: dict[str, Any]) -> None:
        self.raw = raw
        self.fields = fields

    def __str__(self) -> str:
        return dumps(self.raw)


class Tools(list):
    raw: Any = None

    def __str__(self) -> str:
        return dumps([tool.raw for tool in self])


class Properties(dict):
    """A map that prints itself as the JSON it came from."""

    raw: Any = None


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=lambda one: one.raw)


def _tools(tools: list[Any] | None) -> Tools:
    out = Tools()
    for tool in tools or []:
        function = tool["function"]
        parameters = function.get("parameters") or {}
        properties = Properties()
        properties.raw = parameters.get("properties") or {}
        for name, p in properties.raw.items():
            properties[name] = Struct(Type=p.get("type", ""), Description=p.get("description", ""))
        told = Struct(
            Type=parameters.get("type", ""), Required=parameters.get("required", []), Properties=properties
        )
        fields = Struct(Name=function["name"], Description=function.get("description", ""), Parameters=told)
        out.append(Json(tool, {"Type": tool["type"], "Function": fields}))
    return out


class _Program:
    def __init__(self, template: str, data: Any, out: list[str], cut: bool) -> None:
        self.data, self.out, self.cut = data, out, cut
        self.parts = self._scan(template)
        self.at = 0
        self.tree = self._nodes()[0]

    def _scan(self, template: str) -> list[tuple[str, Any]]:
        parts: list[tuple[str, Any]] = []
        end, trim = 0, False
        for found in _SCAN.finditer(template):
            text = template[end : found.start()]
            text = text.lstrip() if trim else text
            parts.append(("text", text.rstrip() if found.group(1) else text))
            inside = found.group(2).strip()
            if not inside.startswith("/*"):
                parts.append(("action", [i for i in _ITEM.findall(inside) if i.strip()]))
            end, trim = found.end(), bool(found.group(3))
        parts.append(("text", template[end:].lstrip() if trim else template[end:]))
        return parts

    def _nodes(self) -> tuple[list[Any], list[str]]:
        nodes: list[Any] = []
        while self.at < len(self.parts):
            kind, value = self.parts[self.at]
            self.at += 1
            if kind == "text":
                nodes.append(("text", value))
            elif value[0] in ("end", "else"):
                return nodes, value
            elif value[0] in ("if", "with", "range"):
                nodes.append(self._branch(value))
            else:
                nodes.append(("action", value))
        return nodes, []

    def _branch(self, words: list[str]) -> Any:
        body, ended = self._nodes()
        otherwise: list[Any] = []
        if ended[0] == "else" and len(ended) > 1:
            otherwise = [self._branch(ended[1:])]
        elif ended[0] == "else":
            otherwise = self._nodes()[0]
        return (words[0], words[1:], body, otherwise)

    def block(self, nodes: list[Any], dot: Any, scopes: list[dict[str, Any]]) -> None:
        scopes = [*scopes, {}]
        for node in nodes:
            if node[0] == "text":
                self.out.append(node[1])
            elif node[0] == "action":
                self._action(node[1], dot, scopes)
            elif node[0] == "range":
                self._range(node, dot, scopes)
            else:
                inner = [*scopes, {}]
                value = (
                    self._assign(node[1], dot, inner) if ":=" in node[1] else self._pipe(node[1], dot, inner)
                )
                if value:
                    self.block(node[2], value if node[0] == "with" else dot, inner)
                else:
                    self.block(node[3], dot, inner)

    def _action(self, words: list[str], dot: Any, scopes: list[dict[str, Any]]) -> None:
        if words[0] in ("break", "continue"):
            raise Jump(words[0])
        if len(words) > 1 and words[1] in (":=", "="):
            self._assign(words, dot, scopes)
            return
        self.out.append(_text(self._pipe(words, dot, scopes)))
        if self.cut and words == [".Response"]:
            raise Stop

    def _assign(self, words: list[str], dot: Any, scopes: list[dict[str, Any]]) -> Any:
        value = self._pipe(words[2:], dot, scopes)
        if words[1] == ":=":
            scopes[-1][words[0]] = value
        else:
            next(scope for scope in reversed(scopes) if words[0] in scope)[words[0]] = value
        return value

    def _range(self, node: Any, dot: Any, scopes: list[dict[str, Any]]) -> None:
        words, names = node[1], []
        if ":=" in words:
            at = words.index(":=")
            names, words = [w for w in words[:at] if w != ","], words[at + 1 :]
        value = self._pipe(words, dot, scopes)
        pairs = sorted(value.items()) if isinstance(value, dict) else list(enumerate(value or []))
        if not pairs:
            self.block(node[3], dot, scopes)
        for key, item in pairs:
            inner = dict(zip(names[::-1], (item, key), strict=False))
            try:
                self.block(node[2], item, [*scopes, inner])
            except Jump as jump:
                if str(jump) == "break":
                    break

    def _pipe(self, words: list[str], dot: Any, scopes: list[dict[str, Any]]) -> Any:
        commands: list[list[Any]] = [[]]
        at = 0
        while at < len(words):
            word = words[at]
            if word == "(":
                depth, end = 1, at + 1
                while depth:
                    depth += {"(": 1, ")": -1}.get(words[end], 0)
                    end += 1
                value = self._pipe(words[at + 1 : end - 1], dot, scopes)
                if end < len(words) and re.fullmatch(r"(\.\w+)+", words[end]) and words[end - 1] == ")":
                    # The tests put no field as an operand of its own behind a parenthesis.
                    value = _dig(value, words[end])
                    end += 1
                commands[-1].append(("value", value))
                at = end
                continue
            if word == "|":
                commands.append([])
            else:
                commands[-1].append(("word", word))
            at += 1
        piped: list[Any] = []
        for command in commands:
            piped = [self._command(command, piped, dot, scopes)]
        return piped[0]

    def _command(self, command: list[Any], piped: list[Any], dot: Any, scopes: list[dict[str, Any]]) -> Any:
        kind, word = command[0]
        if kind == "word" and re.fullmatch(r"[a-z]\w*", word) and word not in ("true", "false", "nil"):
            return _call(word, [self._operand(one, dot, scopes) for one in command[1:]] + piped)
        return self._operand(command[0], dot, scopes)

    def _operand(self, one: tuple[str, Any], dot: Any, scopes: list[dict[str, Any]]) -> Any:
        kind, word = one
        if kind == "value":
            return word
        if word[0] == '"':
            return json.loads(word)
        if word[0] == "`":
            return word[1:-1]
        if word in ("true", "false", "nil"):
            return {"true": True, "false": False, "nil": None}[word]
        if re.fullmatch(r"-?\d+", word):
            return int(word)
        if word == ".":
            return dot
        if word[0] == "$":
            name, _, rest = word.partition(".")
            return _dig(next(scope[name] for scope in reversed(scopes) if name in scope), "." + rest)
        if word[0] == ".":
            return _dig(dot, word)
        return _call(word, [])


def _dig(value: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        fields = value.fields if isinstance(value, Json) else value
        value = fields.get(name) if fields is not None else None
    return value


def _text(value: Any) -> str:
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Tools | Json | str):
        return str(value)
    if isinstance(value, dict):
        return dumps(value.raw if isinstance(value, Properties) else value)
    if isinstance(value, list):
        return "[" + " ".join(map(_text, value)) + "]"
    return str(value)


def _call(name: str, args: list[Any]) -> Any:
    match name:
        case "and":
            return next((one for one in args if not one), args[-1])
        case "or":
            return next((one for one in args if one), args[-1])
        case "not":
            return not args[0]
        case "eq":
            return args[0] in args[1:]
        case "ne":
            return args[0] != args[1]
        case "lt" | "le" | "gt" | "ge":
            left, right = args
            return {"lt": left < right, "le": left <= right, "gt": left > right, "ge": left >= right}[name]
        case "len":
            return len(args[0].encode() if isinstance(args[0], str) else args[0])
        case "index":
            value = args[0]
            for key in args[1:]:
                value = value[key]
            return value
        case "slice":
            return type(args[0])(
                args[0][args[1] if len(args) > 1 else 0 : args[2] if len(args) > 2 else None]
            )
        case "print":
            return "".join(args)
        case "printf":
            return re.sub("%[sdv]", "%s", args[0]) % tuple(map(_text, args[1:]))
        case "json":
            return dumps(args[0])
        case "currentDate":
            return datetime.date.today().isoformat()
    raise AssertionError(f"the interpreter does not know {name}")
