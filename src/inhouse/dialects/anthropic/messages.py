"""Messages of /v1/messages -> core messages.

Consecutive messages of one role are one turn. The results in a user turn become tool messages before
what else it says, and answer the calls of the assistant's turn before it: each of them, each once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeGuard

from ...core.errors import BadRequest
from ...core.messages import Image, Message, Part, Remote, Role, Text, ToolCall, ToolResult
from ..fields import Fields, missing, wrong_type, wrong_value
from ..images import MAX_IMAGES
from ..roles import MAX_MESSAGES
from .blocks import MAX_BLOCKS, assistant, content, identifier, joined, kind_of, refuse_block, texts
from .caching import Pins

_BILLING = "x-anthropic-billing-header:"
"""Claude Code puts such a line, different in each session, before its system prompt; it is no prompt."""


@dataclass(slots=True)
class Conversation:
    """``references`` are names of deferred tools that results brought in."""

    messages: tuple[Message, ...] = ()
    references: set[str] = field(default_factory=set)

    @property
    def prefilled(self) -> bool:
        """Whether the answer continues what the last message says."""
        return bool(self.messages) and self.messages[-1].role == "assistant"


def read_conversation(body: Fields, pins: Pins) -> Conversation:
    """``system`` and ``messages``. Raises BadRequest with the path of what is wrong."""
    turns = _Turns(pins)
    if body.has("system"):
        turns.system(body)
    if not body.has("messages"):
        missing("messages", "an array of messages")
    for item in body.objects("messages", MAX_MESSAGES):
        turns.take(item)
    return turns.finish()


class _Turns:
    """Takes one message after another; knows the turn it is in and the calls that wait for results."""

    def __init__(self, pins: Pins) -> None:
        self._pins = pins
        self._out: list[Message] = []
        self._found = Conversation()
        self._role: Role | None = None
        self._parts: list[Part] = []
        self._results: list[Message] = []
        self._seen: set[str] = set()
        self._asked: dict[str, str] = {}
        self._open: dict[str, str] = {}
        self._caller = ""
        self._last = ""
        self._images = 0

    def system(self, body: Fields) -> None:
        found = [text for text in texts(body, "system", self._pins) if not text.text.startswith(_BILLING)]
        self._role, self._parts = "system", [*found]

    def take(self, item: Fields) -> None:
        role = item.choice("role", "user", "assistant", "system")
        if role is None:
            missing(item.at("role"), "'user', 'assistant' or 'system'")
        self._last = item.at("content")
        if role != self._role:
            self._flush()
        if role == "assistant":
            self._assistant(item)
        elif role == "user":
            self._role = "user"
            self._user(item)
        else:
            self._role = "system"
            self._parts += texts(item, "content", self._pins)

    def finish(self) -> Conversation:
        self._flush()
        self._answered()
        last = self._out[-1] if self._out else None
        if last is None or all(message.role == "system" for message in self._out):
            wrong_value("messages", "at least one message")
        if last.role == "assistant" and last.text[-1:].isspace() and isinstance(last.parts[-1], Text):
            raise BadRequest(
                "final assistant content cannot end with trailing whitespace.",
                hint="Take the white space off its end.",
                param=self._last,
            )
        if self._images > MAX_IMAGES:
            wrong_value("messages", f"at most {MAX_IMAGES} images")
        self._found.messages = tuple(self._out)
        return self._found

    def _flush(self) -> None:
        """Write the turn that is over."""
        self._out += self._results
        before = self._out[-1] if self._out else None
        if before is not None and before.role == self._role:  # what stood between them was empty
            self._parts = [*self._out.pop().parts, *self._parts]
        parts = joined(self._parts, "" if self._role == "assistant" else "\n")
        if parts and self._role is not None:
            self._out.append(Message(self._role, parts))
        self._role, self._parts, self._results = None, [], []

    def _assistant(self, item: Fields) -> None:
        if self._role is None:
            self._answered()
            self._asked, self._open = {}, {}
        self._role = "assistant"
        value = item.get("content")
        if isinstance(value, str):
            self._parts.append(Text(value))
            return
        self._need_array(item, value)
        for block in item.objects("content", MAX_BLOCKS):
            parts = assistant(block, self._pins)
            for part in parts:
                if isinstance(part, ToolCall):
                    self._call(part, block, item)
            self._parts += parts

    def _call(self, call: ToolCall, block: Fields, item: Fields) -> None:
        if call.id in self._seen:
            raise BadRequest(
                "`tool_use` ids must be unique.", hint="Give each call its own id.", param=block.at("id")
            )
        self._seen.add(call.id)
        self._asked[call.id] = self._open[call.id] = call.name
        self._caller = item.at("content").removesuffix(".content")

    def _user(self, item: Fields) -> None:
        value = item.get("content")
        if value in ("", []):
            raise BadRequest(
                "all messages must have non-empty content except for the optional final assistant message.",
                hint="Leave the message out.",
                param=item.at("content"),
            )
        if isinstance(value, str):
            self._parts.append(Text(value))
            return
        self._need_array(item, value)
        for block in item.objects("content", MAX_BLOCKS):
            kind = kind_of(block)
            if kind == "tool_result":
                self._results.append(Message("tool", (self._result(block),)))
                continue
            parts = content(block, kind, self._pins)
            if parts is None:
                refuse_block(block, kind, "user")
            self._parts += self._counted(parts, block)

    def _counted(self, parts: list[Part], block: Fields) -> list[Part]:
        if parts == [Text("")]:
            raise BadRequest(
                "text content blocks must be non-empty.", hint="Leave the block out.", param=block.at("text")
            )
        self._images += sum(map(_pictured, parts))
        return parts

    def _result(self, block: Fields) -> ToolResult:
        self._pins.read(block)
        block.refuse("toolset_name")
        ident = identifier(block, "tool_use_id")
        if ident not in self._asked:
            raise BadRequest(
                f"unexpected `tool_use_id` found in `tool_result` blocks: {ident}. Each `tool_result` block "
                "must have a corresponding `tool_use` block in the previous message.",
                param=block.at("tool_use_id"),
            )
        if self._open.pop(ident, None) is None:
            raise BadRequest(
                "each tool_use must have a single result. Found multiple `tool_result` blocks with "
                f"id: {ident}.",
                param=block.at("tool_use_id"),
            )
        text, images = self._result_content(block)
        if block.flag("is_error", False) and not text.lower().startswith("error"):
            text = f"Error: {text}"
        return ToolResult(text, ident, self._asked[ident], images)

    def _result_content(self, block: Fields) -> tuple[str, tuple[Image | Remote, ...]]:
        value = block.get("content")
        if value is None or isinstance(value, str):
            return value or "", ()
        self._need_array(block, value)
        parts: list[Part] = []
        for inner in block.objects("content", MAX_BLOCKS):
            kind = kind_of(inner)
            if kind == "tool_reference":
                name = inner.required_text("tool_name")
                self._found.references.add(name)
                parts.append(Text(f"The tool {name} is available now."))
                continue
            found = content(inner, kind, self._pins)
            if found is None:
                refuse_block(inner, kind, "tool_result")
            parts += found
        images = tuple(p for p in parts if _pictured(p))
        for part in parts:
            if isinstance(part, Remote) and part.kind == "text":
                raise BadRequest(
                    "A document of a tool result cannot be an address.",
                    hint="Send its text.",
                    param=part.param,
                )
        self._images += len(images)
        text = joined(part for part in parts if isinstance(part, Text))
        return "".join(part.text for part in text if isinstance(part, Text)), images

    def _need_array(self, item: Fields, value: object) -> None:
        if value is None:
            missing(item.at("content"), "a string or an array of blocks")
        if not isinstance(value, list):
            wrong_type(item.at("content"), "a string or an array of blocks", value)

    def _answered(self) -> None:
        """Raise BadRequest when calls of the assistant's last turn have no result."""
        if self._open:
            raise BadRequest(
                "`tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(self._open)[:400]}. Each `tool_use` block must have a corresponding "
                "`tool_result` block in the next message.",
                param=self._caller,
            )


def _pictured(part: Part) -> TypeGuard[Image | Remote]:
    """Whether a part is an image, or will be one when it is fetched."""
    return isinstance(part, Image) or (isinstance(part, Remote) and part.kind == "image")
