"""Values of a conversation: messages and their parts, tools, sampling, output format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the model thought aloud; never part of the answer. ``signature`` is opaque and passed through."""

    text: str
    signature: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """``arguments`` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """``call_id`` or ``name`` may be missing: Ollama's client sends only a name."""

    text: str
    call_id: str | None = None
    name: str | None = None
    images: tuple[Image | Remote, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    data: bytes
    mime: str


@dataclass(frozen=True, slots=True)
class Remote:
    """A picture or text that lies at an http(s) URL; whoever prepares a request replaces it.

    ``param`` is the path of the field that named it, for errors.
    """

    url: str
    kind: Literal["image", "text"] = "image"
    param: str = "messages"


Part = Text | Reasoning | ToolCall | ToolResult | Image | Remote


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    parts: tuple[Part, ...]
    name: str | None = None

    @property
    def text(self) -> str:
        """All text parts joined."""
        return "".join(p.text for p in self.parts if isinstance(p, Text))


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; ``parameters`` is a JSON Schema object. ``enforced`` is the same in
    words that the engine in use enforces, at times narrower; the model is never shown it."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False
    enforced: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """``required`` with a ``name`` means exactly that function."""

    mode: Literal["auto", "none", "required"] = "auto"
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Grammar:
    """A language the answer must belong to. ``gbnf``: llama.cpp's notation; ``lark``: llguidance's
    dialect of Lark, ``start`` is its start rule; ``regex``: matched as a whole."""

    kind: Literal["gbnf", "lark", "regex"]
    text: str


@dataclass(frozen=True, slots=True)
class Format:
    """How the answer must look. ``json``: any JSON object; ``schema``: valid under ``schema``;
    ``grammar``: a word of ``grammar``.

    A schema is enforced while decoding, or refused; ``after`` lets keywords that cannot be enforced
    be checked on the whole answer instead, which is then made again a few times. ``param`` is the path
    of the field that asked, for errors.
    """

    kind: Literal["json", "schema", "grammar"]
    schema: Mapping[str, Any] | None = None
    grammar: Grammar | None = None
    after: bool = False
    param: str = "response_format"


@dataclass(frozen=True, slots=True)
class Sampling:
    """``None`` means: the model's own default (``Card.defaults``), else ``fallback``, else the engine's.

    ``max_tokens`` None is unbounded (until the end of the context). ``seed`` None is random.
    ``fallback`` holds the defaults that a dialect documents; it has no fallback of its own. Whoever
    knows the card merges the three, field by field, in that order.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    seed: int | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    fallback: Sampling | None = None
