"""Parts of a message's content."""

from __future__ import annotations

from typing import NoReturn

from ...core.errors import Unsupported
from ...core.messages import Image, Part, Remote, Role, Text
from ..fields import Fields, missing, wrong_value
from ..images import named
from ..textfiles import from_data
from .files import kept_file

MAX_PARTS = 10_000
_ALLOWED = {"user": "'text', 'image_url' or 'file'", "assistant": "'text' or 'refusal'"}


def read_part(part: Fields, role: Role) -> Part:
    """Text, an image or a text file. Raises BadRequest with the path of what is wrong."""
    kind = part.text("type")
    if kind is None:
        missing(part.at("type"), "the type of the part")
    if kind == "text" or (kind == "refusal" and role == "assistant"):
        text = part.text(kind)
        if text is None:
            missing(part.at(kind), "a string")
        return Text(text)
    if role == "user":
        match kind:
            case "image_url":
                return _image(part)
            case "file":
                return _file(part)
            case "input_audio":
                _no_sound(part)
    wrong_value(part.at("type"), _ALLOWED.get(role, "'text'"), kind)


def _no_sound(part: Fields) -> NoReturn:
    raise Unsupported(
        "Parts of type 'input_audio' are not supported here.",
        hint="Send text, or images as data: URIs.",
        param=part.at("type"),
    )


def _image(part: Fields) -> Image | Remote:
    value = part.get("image_url")
    if isinstance(value, str):
        return named(value, part.at("image_url"))
    image = part.mapping("image_url")
    if image is None:
        missing(part.at("image_url"), "an object with a url")
    image.choice("detail", "auto", "low", "high", "original")
    image.note("detail")
    return named(image.required_text("url"), image.at("url"))


def _file(part: Fields) -> Text | Remote:
    file = part.mapping("file")
    if file is None:
        missing(part.at("file"), "an object with file_data or file_id")
    name = file.text("filename") or ""
    ident = file.text("file_id")
    if ident is not None:
        file.refuse("file_data", why="Send file_id or file_data, not both.")
        return kept_file(ident, file.at("file_id"))
    return from_data(file.required_text("file_data"), name, file.at("file_data"))
