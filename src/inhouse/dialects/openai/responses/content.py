"""Parts of messages and of call results -> core parts. Files are text; images are bytes or addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ....core.errors import NotFound, Unsupported
from ....core.messages import Image, Remote, Text
from ... import images, textfiles
from ...fields import Fields, missing, wrong_type, wrong_value
from ..files import Allowance
from ..hints import read_breakpoint

MAX_PARTS = 10_000
Files = Mapping[str, bytes]
Piece = Text | Image | Remote
_WRITTEN = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}


@dataclass(slots=True)
class Bag:
    """What parts need and leave: contents by file id; seconds for which the prompt is wanted again."""

    files: Files
    pin: float | None = None
    allowance: Allowance = field(default_factory=Allowance)

    def want(self, seconds: float | None) -> None:
        """Keep the longest wish."""
        self.pin = max((one for one in (self.pin, seconds) if one is not None), default=None)


def read_content(item: Fields, name: str, bag: Bag) -> tuple[Piece, ...]:
    """A string or parts. Raises BadRequest with the path of what is wrong."""
    value = item.get(name)
    if value is None:
        missing(item.at(name), "a string or an array of parts")
    if isinstance(value, str):
        return (Text(value),)
    if not isinstance(value, list):
        wrong_type(item.at(name), "a string or an array of parts", value)
    return tuple(_part(part, bag) for part in item.objects(name, MAX_PARTS))


def _part(part: Fields, bag: Bag) -> Piece:
    bag.want(read_breakpoint(part))
    kind = part.text("type")
    if kind is None:
        missing(part.at("type"), "the type of the part")
    if kind in _WRITTEN:
        name = _WRITTEN[kind]
        text = part.text(name)
        if text is None:
            missing(part.at(name), "a string")
        return Text(text)
    if kind == "input_image":
        return _image(part, bag)
    if kind == "input_file":
        return _file(part, bag)
    if kind in ("input_audio", "computer_screenshot"):
        raise Unsupported(
            f"Parts of type '{kind}' are not supported here.",
            hint="Send text, images or text files.",
            param=part.at("type"),
        )
    wrong_value(
        part.at("type"), "'input_text', 'input_image', 'input_file', 'output_text' or 'refusal'", kind
    )


def _image(part: Fields, bag: Bag) -> Image | Remote:
    part.choice("detail", "auto", "low", "high", "original")
    kept = part.text("file_id")
    url = part.text("image_url")
    if url is not None:
        return images.named(url, part.at("image_url"))
    if kept is None:
        missing(part.at("image_url"), "the image as a data: URI, or a file_id")
    return images.from_bytes(_kept(kept, part, bag), part.at("file_id"))


def _file(part: Fields, bag: Bag) -> Text | Remote:
    part.choice("detail", "auto", "low", "high")
    title, data = part.text("filename") or "", part.text("file_data")
    url, kept = part.text("file_url"), part.text("file_id")
    if data is not None:
        return textfiles.from_data(data, title, part.at("file_data"))
    if url is not None:
        return Remote(url, "text", part.at("file_url"))
    if kept is None:
        missing(part.at("file_data"), "file_data, file_url or file_id")
    return textfiles.from_bytes(_kept(kept, part, bag), title, part.at("file_id"))


def _kept(ident: str, part: Fields, bag: Bag) -> bytes:
    data = bag.files.get(ident)
    if data is None:
        raise NotFound(
            f"No file '{ident[:80]}' is kept here.", hint="Upload it first.", param=part.at("file_id")
        )
    bag.allowance.take(len(data), part.at("file_id"))
    return data


def named_files(items: list[dict[str, Any]]) -> set[str]:
    """The file ids that items name, wherever parts may be."""
    found = set()
    for item in items:
        for name in ("content", "output"):
            parts = item.get(name)
            for part in parts if isinstance(parts, list) else ():
                ident = part.get("file_id") if isinstance(part, dict) else None
                if isinstance(ident, str):
                    found.add(ident)
    return found
