"""The tree of a Go template -> statements of Jinja.

Only what every engine of chat templates knows: ``for`` over lists, ``if``, ``set`` on namespaces, ``tojson``,
``dictsort``, ``length``, ``join``. Texts are printed as literals, so that no rule about white space and no
brace inside of them matters. ``break`` and ``continue`` become flags: not every engine has them, and one that
has drops what the branch printed before.
"""

from __future__ import annotations

from collections.abc import Callable

from .tree import (
    Assign,
    Expression,
    Field,
    If,
    Leave,
    Node,
    Range,
    Show,
    Text,
    Variable,
    malformed,
    untranslatable,
)
from .types import INT, NIL, TEXT, Type
from .values import Root, Value, Values, shown, struct, written

_DOT = ""


class Emitter:
    """Emits the body of a template. ``root`` gives the fields of the whole data.

    ``lines`` are the statements. All variables live in the namespace ``v``, each under a name of its own, as
    Jinja forgets at the end of a block what Go keeps.
    """

    def __init__(self, root: Root, names: Callable[[], int]) -> None:
        self.lines: list[str] = []
        self._values = Values(self._lookup, root)
        self._scopes: list[dict[str, Value]] = [{_DOT: Value("$", NIL)}]
        self._loops: list[int] = []
        self._number = names

    def template(self, nodes: tuple[Node, ...]) -> None:
        """The whole template. Text at its very end, behind the messages, begins the answer: it is only
        printed when ``add_generation_prompt`` asks for that."""
        self._list(nodes, last=True)

    def _lookup(self, name: str, line: int) -> Value:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        malformed(line, f"undefined variable ${name[:40]}")

    def _say(self, statement: str) -> None:
        self.lines.append(f"{{%- {statement} -%}}")

    def _set(self, name: str, text: str) -> None:
        self._say(f"set v.{name} = {text}")

    def _list(self, nodes: tuple[Node, ...], *, last: bool = False) -> None:
        """Nodes in order. What stands behind one that may leave the loop's turn asks whether it has."""
        guarded = False
        tail = _tail(nodes) if last else len(nodes)
        for at, node in enumerate(nodes):
            if at == tail:
                self._tail(nodes[at:])
                break
            self._node(node, last=last and at == len(nodes) - 1)
            if isinstance(node, Leave):
                break
            if at + 1 < len(nodes) and _leaves((node,)):
                if guarded:
                    self._say("endif")
                self._say(f"if not v.next{self._loops[-1]}")
                guarded = True
        if guarded:
            self._say("endif")

    def _tail(self, nodes: tuple[Node, ...]) -> None:
        """The text behind the last message, if the nodes are that; else they are what they are."""
        before = len(self.lines)
        for node in nodes:
            self._node(node)
        if self.lines[before:]:
            self.lines.insert(before, "{%- if add_generation_prompt -%}")
            self._say("endif")

    def _node(self, node: Node, *, last: bool = False) -> None:
        if isinstance(node, Text):
            self.lines.append(f"{{{{- {written(node.text)} -}}}}")
        elif isinstance(node, Show):
            self._show(node.value)
        elif isinstance(node, Assign):
            self._assign(node)
        elif isinstance(node, If):
            self._if(node, last)
        elif isinstance(node, Range):
            self._range(node, last)
        else:
            number = self._loops[-1]
            self._set(f"next{number}", "true")
            if node.breaks:
                self._set(f"stop{number}", "true")

    def _show(self, expression: Expression) -> None:
        value = self._values.of(expression)
        if value.type is TEXT and value.truth is False:
            return
        if value.type is NIL:
            untranslatable(expression.line, "printing what a chat does not have")
        self.lines.append(f"{{{{- {shown(value, expression.line)} -}}}}")

    def _declare(self, name: str, value: Value) -> None:
        """A new variable of the innermost block."""
        place = f"{_ascii(name)}{self._number()}"
        self._set(place, value.text)
        self._scopes[-1][name] = Value(f"v.{place}", value.type)

    def _assign(self, node: Assign) -> None:
        value = self._values.of(node.value)
        if value.type is NIL:
            untranslatable(node.line, "a variable for what a chat does not have")
        if node.declares:
            self._declare(node.name, value)
            return
        held = self._lookup(node.name, node.line)
        if held.type is not value.type:
            untranslatable(node.line, f"${node.name[:40]} changes its type")
        if not held.text.startswith("v."):
            untranslatable(node.line, f"${node.name[:40]} belongs to the range")
        self._set(held.text[2:], value.text)

    def _if(self, node: If, last: bool) -> None:
        self._scopes.append({})
        value = self._values.of(node.value)
        if node.name:
            self._declare(node.name, value)
            value = Value(self._lookup(node.name, 0).text, value.type, value.truth)
        elif node.moves and value.truth is not False:
            place = f"with{self._number()}"
            self._set(place, value.text)
            value = Value(f"v.{place}", value.type, value.truth)
        if value.truth is None:
            self._say(f"if {value.text}")
        if value.truth is not False:
            self._block(node.body, {_DOT: value} if node.moves else {}, last)
        if value.truth is None and node.otherwise:
            self._say("else")
        if value.truth is not True:
            self._block(node.otherwise, {}, last)
        if value.truth is None:
            self._say("endif")
        self._scopes.pop()

    def _block(self, nodes: tuple[Node, ...], scope: dict[str, Value], last: bool) -> None:
        self._scopes.append(scope)
        self._list(nodes, last=last)
        self._scopes.pop()

    def _range(self, node: Range, last: bool) -> None:
        value = self._values.of(node.value)
        if value.truth is False:
            self._block(node.otherwise, {}, last)
            return
        if value.type.kind not in ("list", "map") or value.type.item is None:
            untranslatable(node.line, "a range over this value")
        number = self._number()
        stops = _leaves(node.body, breaks=True)
        if stops:
            self._set(f"stop{number}", "false")
        if node.otherwise:
            self._say(f"if {value.text}")
        self._loop(node, value, value.type.item, number)
        if node.otherwise:
            self._say("else")
            self._block(node.otherwise, {}, False)
            self._say("endif")

    def _loop(self, node: Range, value: Value, item: Type, number: int) -> None:
        """The loop itself. Go goes through a map by the order of its keys."""
        each = Value(f"e{number}", item, struct(item))
        listed = value.type.kind == "list"
        pairs = f"k{number}, e{number} in ({value.text} | dictsort(true))"
        self._say(f"for e{number} in {value.text}" if listed else f"for {pairs}")
        stops = _leaves(node.body, breaks=True)
        if stops:
            self._say(f"if not v.stop{number}")
        if _leaves(node.body):
            self._set(f"next{number}", "false")
        scope = {_DOT: each}
        if node.item not in ("", "_"):
            scope[node.item] = each
        self._scopes.append(scope)
        if node.key not in ("", "_"):
            key = Value("loop.index0", INT) if listed else Value(f"k{number}", TEXT)
            self._declare(node.key, key)
        self._loops.append(number)
        self._list(node.body)
        self._loops.pop()
        self._scopes.pop()
        if stops:
            self._say("endif")
        self._say("endfor")


def _ascii(name: str) -> str:
    return "".join(char for char in name if char.isascii())


def _leaves(nodes: tuple[Node, ...], *, breaks: bool = False) -> bool:
    """Whether a turn of the loop around these nodes may end in them; with ``breaks``: the loop itself."""
    for node in nodes:
        if isinstance(node, Leave) and (node.breaks or not breaks):
            return True
        if isinstance(node, If) and _leaves(node.body, breaks=breaks):
            return True
        if isinstance(node, If | Range) and _leaves(node.otherwise, breaks=breaks):
            return True
    return False


def _tail(nodes: tuple[Node, ...]) -> int:
    """Where the text begins that follows a loop over the messages at the end of a list."""
    at = len(nodes)
    while at and (isinstance(nodes[at - 1], Text) or _is_field(nodes[at - 1], Show, "Response")):
        at -= 1
    return at if at and _is_field(nodes[at - 1], Range, "Messages") else len(nodes)


def _is_field(node: Node, kind: type[Show] | type[Range], name: str) -> bool:
    if not isinstance(node, kind):
        return False
    value = node.value
    return isinstance(value, Field | Variable) and value.names[-1:] == (name,)
