"""A Go template of Ollama's kind as a Jinja template for chats.

A template that speaks of ``.Messages`` is executed once, over messages of which neighbours of one role are
joined. Any other is executed once for each turn of system, prompt and response, the last time only up to
``.Response``, where the answer begins. Both as Ollama does it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Final

from .emit import Emitter
from .parser import parse
from .tree import Field, If, Node, Range, Show, Variable, expressions, malformed, untranslatable
from .types import BOOL, MESSAGES, TEXT, TOOLS
from .values import NOTHING, Value

LONGEST: Final = 2**20

_WORDS: Final = "if|range|with|else|end|define|template|block|break|continue"
_FUNCTIONS: Final = "json|eq|ne|and|or|len|index|slice|print|printf|println|lt|le|gt|ge"
_GO: Final = re.compile(
    rf"\{{\{{-?[ \t\r\n]*(?:/\*|\.[A-Za-z]|\.[ \t]*-?\}}\}}|\$|(?:{_WORDS})\b|(?:{_FUNCTIONS})[ \t]+[.$\"`(]"
    r"|[A-Za-z]\w*[ \t]+[.$][A-Za-z])"  # a function that Go does not know either, but so it is called
)
_JINJA: Final = re.compile(r"\{%|\{\{|\{#")

# What every template may ask for; absent ``enable_thinking`` means yes, as in Ollama.
_SHARED: Final = {
    "Think": Value("(enable_thinking is not defined or enable_thinking)", BOOL),
    "ThinkLevel": Value("(reasoning_effort or '')", TEXT),
    "IsThinkSet": Value("true", BOOL, True),
}
_EMPTY: Final = Value("''", TEXT, False)
# Not named by exclusion: a template that mentions tools is taken for one that knows them.
_JOINED: Final = "['system', 'user', 'assistant']"
_CONTENT: Final = "(m['content'] or '')"


def is_go(text: str) -> bool:
    """Whether a template is one of Go: something between its braces is Go and cannot be Jinja."""
    return bool(_GO.search(text))


def is_jinja(text: str) -> bool:
    """Whether a template is one of Jinja, as far as a look can tell."""
    return not is_go(text) and bool(_JINJA.search(text))


def translate(text: str) -> str:
    """The Jinja template that prints the same for a chat as this Go template in Ollama.

    JSON is compact as Go's, but keeps the order of its keys and ``<``, ``>`` and ``&`` as they are. The time
    that this takes grows with the length of the text, which is at most 1 MiB with 20,000 words in its
    actions. Raises BadRequest for a malformed template, Unsupported for one that Jinja cannot say; both name
    the line.
    """
    if len(text) > LONGEST:
        malformed(1, f"a template has at most {LONGEST} characters")
    nodes = parse(text)
    names = _names(nodes)
    named = {name.lower() for name in names}
    count = itertools.count(1)
    lines = (
        _whole(nodes, names, count.__next__) if "messages" in named else _turns(nodes, named, count.__next__)
    )
    return "\n".join(lines)


def _names(nodes: tuple[Node, ...]) -> set[str]:
    """All names of fields in a template."""
    fields = (each for each in expressions(nodes) if isinstance(each, Field | Variable))
    return {name for each in fields for name in each.names}


def _whole(nodes: tuple[Node, ...], used: set[str], number: Callable[[], int]) -> list[str]:
    def root(name: str, line: int) -> Value:
        known = {
            # A chat has a message at least.
            "Messages": Value("g.all", MESSAGES, True),
            "System": Value("g.system", TEXT),
            "Tools": Value("(tools or [])", TOOLS),
            "Response": _EMPTY,
        }
        return known.get(name) or _SHARED.get(name, NOTHING)

    emitter = Emitter(root, number)
    emitter.template(nodes)
    return [*_messages(used), *emitter.lines]


def _messages(used: set[str]) -> list[str]:
    """``g.all``: the messages, neighbours of one role joined; ``g.system``: what all system ones say.

    Only the parts that the template uses are touched: an engine finds out what a template supports by
    watching what it touches.
    """
    keys = {
        "Thinking": "'reasoning_content': (m['reasoning_content'] or '')",
        "ToolCalls": "'tool_calls': (m['tool_calls'] or [])",
        "ToolName": "'name': (m['name'] or '')",
        "ToolCallID": "'tool_call_id': (m['tool_call_id'] or '')",
    }
    more = "".join(f", {text}" for name, text in keys.items() if name in used)
    last = more.replace("(m[", "(g.all[-1][")
    joins = f"g.all and g.all[-1]['role'] == m['role'] and m['role'] in {_JOINED}"
    if "ToolCalls" in used:
        joins += " and not m['tool_calls'] and not g.all[-1]['tool_calls']"
    content = f"g.all[-1]['content'] ~ '\\n\\n' ~ {_CONTENT}"
    system = [
        "{%- if m['role'] == 'system' -%}",
        f"{{%- set g.system = g.system ~ ('\\n\\n' if g.said else '') ~ {_CONTENT} -%}}",
        "{%- set g.said = true -%}",
        "{%- endif -%}",
    ]
    return [
        "{%- set v = namespace(used=true) -%}",
        "{%- set g = namespace(all=[], system='', said=false) -%}",
        "{%- for m in messages -%}",
        *(system if "System" in used else ()),
        f"{{%- if {joins} -%}}",
        f"{{%- set g.all = g.all[:-1] + [{{'role': m['role'], 'content': {content}{last} }}] -%}}",
        "{%- else -%}",
        f"{{%- set g.all = g.all + [{{'role': m['role'], 'content': {_CONTENT}{more} }}] -%}}",
        "{%- endif -%}",
        "{%- endfor -%}",
    ]


def _turns(nodes: tuple[Node, ...], named: set[str], number: Callable[[], int]) -> list[str]:
    if "response" not in named:
        nodes = (*nodes, Show(Field(("Response",), None, 1)))
    history = Emitter(_turn("t['{}']"), number)
    history.template(nodes)
    answer = Emitter(_turn("g.{}"), number)
    answer.template(_until_response(nodes)[0])
    return [
        *_grouped("system" in named),
        "{%- for t in g.turns -%}",
        *history.lines,
        "{%- endfor -%}",
        "{%- if g.open -%}",
        *answer.lines,
        "{%- endif -%}",
    ]


def _turn(place: str) -> Callable[[str, int], Value]:
    def root(name: str, line: int) -> Value:
        if name in ("System", "Prompt", "Response"):
            return Value(place.format(name.lower()), TEXT)
        return _SHARED.get(name, NOTHING)

    return root


def _grouped(system: bool) -> list[str]:
    """``g.turns``: the turns that are over; ``g.system``, ``g.prompt``, ``g.response``: the one to answer.

    A system message that the template has no place for is not touched, so that an engine may move it. A chat
    that ends with an answer and asks for none (``g.open`` false) is over.
    """
    close = [
        "{%- set g.turns = g.turns + [{'system': g.system, 'prompt': g.prompt, 'response': g.response }] -%}",
        "{%- set g.system = '' -%}{%- set g.prompt = '' -%}{%- set g.response = '' -%}",
    ]
    slots = {"user": "prompt", "assistant": "response", **({"system": "system"} if system else {})}
    ends = {"system": "g.prompt or g.response", "user": "g.response"}
    lines = [
        "{%- set v = namespace(used=true) -%}",
        "{%- set g = namespace(turns=[], open=true, role='', system='', prompt='', response='') -%}",
        "{%- for m in messages -%}",
        "{%- if m['role'] != g.role -%}",
    ]
    for role, over in ends.items():
        lines += [f"{{%- if m['role'] == '{role}' and ({over}) -%}}", *close, "{%- endif -%}"]
    for role, slot in slots.items():
        lines += [f"{{%- if m['role'] == '{role}' -%}}{{%- set g.{slot} = {_CONTENT} -%}}{{%- endif -%}}"]
    lines.append("{%- else -%}")
    for role, slot in slots.items():
        joined = f"g.{slot} ~ '\\n\\n' ~ {_CONTENT}"
        lines += [f"{{%- if m['role'] == '{role}' -%}}{{%- set g.{slot} = {joined} -%}}{{%- endif -%}}"]
    return [
        *lines,
        "{%- endif -%}",
        "{%- set g.role = m['role'] -%}",
        "{%- endfor -%}",
        "{%- if g.response and not add_generation_prompt -%}",
        *close,
        "{%- set g.open = false -%}",
        "{%- endif -%}",
    ]


def _until_response(nodes: tuple[Node, ...]) -> tuple[tuple[Node, ...], bool]:
    """The template up to the first ``{{ .Response }}``, and whether there is one.

    Each branch ends at its own. What follows a branch with one is gone, whichever is taken.
    """
    out: list[Node] = []
    for node in nodes:
        if isinstance(node, Show) and node.value == Field(("Response",), None, node.value.line):
            return (*out, node), True
        if isinstance(node, Range):
            body, found = _until_response(node.body)
            if found:
                untranslatable(node.line, "{{ .Response }} inside of a range")
            out.append(node)
            continue
        if isinstance(node, If):
            body, found = _until_response(node.body)
            otherwise, other = _until_response(node.otherwise)
            out.append(If(node.value, node.name, node.moves, body, otherwise))
            if found or other:
                return tuple(out), True
            continue
        out.append(node)
    return tuple(out), False
