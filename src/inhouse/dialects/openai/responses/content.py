"""Parts of messages and of call results -> core parts. Files are text; images are bytes or addresses."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ....core.errors import NotFound, Unsupported
from ....core.messages import Image, Remote, Text
from ...fields import Fields, missing, wrong_type, wrong_value
from ...images import from_base64, named
from ...textfiles import from_bytes, from_data
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
        return _image(part, bag.files)
    if kind == "input_file":
        return _file(part, bag.files)
    if kind in ("input_audio", "computer_screenshot"):
        raise Unsupported(
            f"Parts of type '{kind}' are not supported here.",
            hint="Send text, images or text files.",
            param=part.at("type"),
        )
    wrong_value(
        part.at("type"), "'input_text', 'input_image', 'input_file', 'output_text' or 'refusal'", kind
    )


def _image(part: Fields, files: Files) -> Image | Remote:
    part.choice("detail", "auto", "low", "high", "original")
    kept = part.text("file_id")
    url = part.text("image_url")
    if url is not None:
        return named(url, part.at("image_url"))
    if kept is None:
        missing(part.at("image_url"), "the image as a data: URI, or a file_id")
    data = base64.b64encode(_kept(kept, part, files)).decode()
    return from_base64(data, part.at("file_id"))


def _file(part: Fields, files: Files) -> Text | Remote:
    part.choice("detail", "auto", "low", "high")
    title, data = part.text("filename") or "", part.text("file_data")
    url, kept = part.text("file_url"), part.text("file_id")
    if data is not None:
        return from_data(data, title, part.at("file_data"))
    if url is not None:
        return Remote(url, "text", part.at("file_url"))
    if kept is None:
        missing(part.at("file_data"), "file_data, file_url or file_id")
    return from_bytes(_kept(kept, part, files), title, part.at("file_id"))


def _kept(ident: str, part: Fields, files: Files) -> bytes:
    if ident not in files:
        raise NotFound(
            f"No file '{ident[:80]}' is kept here.", hint="Upload it first.", param=part.at("file_id")
        )
    return files[ident]


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
