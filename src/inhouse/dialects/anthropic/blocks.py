"""Content blocks -> parts. What is no text, image or plain document is refused by name."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import NoReturn

from ...core.errors import BadRequest, Unsupported
from ...core.messages import Image, Part, Reasoning, Remote, Text, ToolCall
from ..fields import Fields, missing, wrong_type, wrong_value
from ..images import from_base64, named
from ..wire import dumps
from .caching import Pins
from .thinking import recover

MAX_BLOCKS = 10_000
_ID = re.compile(r"[A-Za-z0-9_-]{1,256}\Z", re.ASCII)
_ID_RULE = "1 to 256 letters, digits, '_' or '-'"
_MIMES = ("image/jpeg", "image/png", "image/webp")
_HERE = "Send text, images or plain text documents."


def kind_of(block: Fields) -> str:
    """The type of a block."""
    kind = block.text("type")
    if not kind:
        missing(block.at("type"), "the type of the block")
    return kind


def identifier(block: Fields, name: str) -> str:
    """The id of a call."""
    value = block.required_text(name)
    if not _ID.match(value):
        wrong_value(block.at(name), _ID_RULE, value)
    return value


def needed(block: Fields, name: str) -> str:
    """A string that must be there; it may be empty."""
    value = block.text(name)
    if value is None:
        missing(block.at(name), "a string")
    return value


def refuse_block(block: Fields, kind: str, role: str) -> NoReturn:
    """Raise Unsupported for a block that exists but not here, BadRequest for any other."""
    if kind.endswith(("_tool_result", "_tool_use")) or kind in ("container_upload", "compaction", "fallback"):
        raise Unsupported(
            f"Blocks of type '{kind[:60]}' are not supported here.", hint=_HERE, param=block.at("type")
        )
    wrong_value(block.at("type"), f"the type of a block for the role '{role}'", kind)


def text_of(block: Fields, pins: Pins) -> Text:
    """A text block; citations of an earlier answer are left out of the prompt."""
    pins.read(block)
    block.items("citations", MAX_BLOCKS)
    block.note("citations")
    return Text(needed(block, "text"))


def texts(fields: Fields, name: str, pins: Pins) -> list[Text]:
    """A string or text blocks only, as ``system`` takes them."""
    value = fields.get(name)
    if isinstance(value, str):
        return [Text(value)]
    if not isinstance(value, list):
        wrong_type(fields.at(name), "a string or an array of text blocks", value)
    out = []
    for block in fields.objects(name, MAX_BLOCKS):
        if kind_of(block) != "text":
            wrong_value(block.at("type"), "'text'", block.get("type"))
        out.append(text_of(block, pins))
    return out


def joined(parts: Iterable[Part], between: str = "\n") -> tuple[Part, ...]:
    """Neighbouring texts as one, apart by ``between`` where no white space is; empty ones go."""
    out: list[Part] = []
    for part in parts:
        last = out[-1] if out else None
        if not isinstance(part, Text) or not isinstance(last, Text):
            if part != Text(""):
                out.append(part)
        elif part.text:
            apart = last.text[-1:].isspace() or part.text[:1].isspace()
            out[-1] = Text(last.text + ("" if apart else between) + part.text)
    return tuple(out)


def content(block: Fields, kind: str, pins: Pins) -> list[Part] | None:
    """Parts of a block that users and tool results have in common; None for any other block."""
    if kind == "text":
        return [text_of(block, pins)]
    if kind == "image":
        return [_image(block, pins)]
    if kind == "document":
        return _document(block, pins)
    return _search_result(block, pins) if kind == "search_result" else None


def assistant(block: Fields, pins: Pins) -> list[Part]:
    """Parts of a block that an assistant said before."""
    kind = kind_of(block)
    if kind == "text":
        return [text_of(block, pins)]
    if kind == "thinking":
        thought, signature = needed(block, "thinking"), needed(block, "signature")
        return [Reasoning(thought or recover(signature), signature)]
    if kind == "redacted_thinking":
        needed(block, "data")
        return []
    if kind != "tool_use":
        refuse_block(block, kind, "assistant")
    pins.read(block)
    block.refuse("caller", {"type": "direct"}, why="Only calls by the model itself are supported.")
    block.refuse("toolset_name")
    given = block.object("input")
    if given is None:
        missing(block.at("input"), "an object")
    return [ToolCall(identifier(block, "id"), block.required_text("name"), dumps(given).decode())]


def _source(block: Fields) -> tuple[Fields, str]:
    source = block.mapping("source")
    if source is None:
        missing(block.at("source"), "an object with a type")
    kind = kind_of(source)
    if kind == "file":
        source.refuse("type", why="Send the content itself.")
    return source, kind


def _image(block: Fields, pins: Pins) -> Image | Remote:
    pins.read(block)
    block.refuse("transformations", {}, {"oversized_image": "downsize"}, why="Images are scaled down to fit.")
    source, kind = _source(block)
    if kind == "url":
        return named(source.required_text("url"), source.at("url"))
    if kind != "base64":
        wrong_value(source.at("type"), "'base64' or 'url'", kind)
    mime = needed(source, "media_type")
    if mime == "image/gif":
        source.refuse("media_type", why="Send a PNG, JPEG or WebP image.")
    source.choice("media_type", *_MIMES)
    image = from_base64(source.required_text("data"), source.at("data"))
    if image.mime != mime:
        raise BadRequest(
            f"The image was specified using the {mime} media type, but it is {image.mime}.",
            hint="Name the type that it has.",
            param=source.at("media_type"),
        )
    return image


def _document(block: Fields, pins: Pins) -> list[Part]:
    """A document between tags that say where it begins and ends."""
    pins.read(block)
    _refuse_citations(block)
    head = "<document>\n"
    for name in ("title", "context"):
        if value := block.text(name):
            head += f"<{name}>{value}</{name}>\n"
    return [*joined([Text(head), *_document_parts(block, pins), Text("</document>")])]


def _document_parts(block: Fields, pins: Pins) -> list[Part]:
    source, kind = _source(block)
    if kind == "url":
        url = source.required_text("url")
        if not url[:8].lower().startswith(("http://", "https://")):
            wrong_value(source.at("url"), "an http or https address")
        return [Remote(url, "text", source.at("url"))]
    if kind == "content":
        return _inner(source, pins)
    if kind not in ("text", "base64"):
        wrong_value(source.at("type"), "'text', 'base64', 'content' or 'url'", kind)
    if source.text("media_type") == "application/pdf":
        source.refuse("media_type", why="PDF is not read here; send its text.")
    source.choice("media_type", "text/plain")
    data = needed(source, "data")
    if kind == "text":
        return [Text(data)]
    try:
        return [Text(base64.b64decode(data, validate=True).decode())]
    except (binascii.Error, ValueError):
        wrong_value(source.at("data"), "base64 of UTF-8 text")


def _inner(source: Fields, pins: Pins) -> list[Part]:
    value = source.get("content")
    if isinstance(value, str):
        return [Text(value)]
    if value is None:
        missing(source.at("content"), "a string or an array of blocks")
    out: list[Part] = []
    for block in source.objects("content", MAX_BLOCKS):
        kind = kind_of(block)
        if kind not in ("text", "image"):
            wrong_value(block.at("type"), "'text' or 'image'", kind)
        out += content(block, kind, pins) or []
    return out


def _search_result(block: Fields, pins: Pins) -> list[Part]:
    pins.read(block)
    _refuse_citations(block)
    source, title = needed(block, "source"), needed(block, "title")
    found = texts(block, "content", pins)
    head = f"<search_result>\n<source>{source}</source>\n<title>{title}</title>\n"
    return [*joined([Text(head), *found, Text("</search_result>")])]


def _refuse_citations(block: Fields) -> None:
    citations = block.mapping("citations")
    if citations is not None and citations.flag("enabled", False):
        citations.refuse("enabled", why="Models on this machine do not cite.")
