"""Bytes of strangers as a part of a message: known by their first bytes, and by what they claim to be."""

from __future__ import annotations

import codecs
import re
from typing import Final

from ..core.errors import BadRequest, Unsupported
from ..core.messages import Image, Text
from ..dialects import images
from .fetch import Body

UNTOLD: Final = frozenset({"", "application/octet-stream", "binary/octet-stream"})
"""Media types that say nothing; the bytes alone decide."""

TEXTS: Final = frozenset(
    f"application/{name}"
    for name in ("json", "xml", "yaml", "x-yaml", "toml", "x-ndjson", "javascript", "x-javascript", "sql")
)
CHARSETS: Final = frozenset(
    {"utf-8", "utf-16", "utf-16-le", "utf-16-be", "ascii", "iso8859-1", "iso8859-2", "iso8859-15", "koi8-r"}
    | {f"cp{n}" for n in range(1250, 1259)}
    | {"shift_jis", "cp932", "euc_jp", "gbk", "gb2312", "gb18030", "big5", "euc_kr"}
)
"""Python's names of the charsets that are read; some of its others are slow or no charsets at all."""

BINARIES: Final = (
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"RIFF", "an image or sound"),
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_KIND = re.compile(r"[a-z]+/[a-z0-9.+-]{1,60}\Z", re.ASCII)


def image_of(body: Body, param: str) -> Image:
    """A PNG, JPEG or WebP. Raises BadRequest, BodyTooLarge, Unsupported."""
    if body.kind not in UNTOLD and not body.kind.startswith("image/"):
        raise _bad(param, "an image", f"{_shown(body.kind)} came")
    return images.from_bytes(body.data, param)


def text_of(body: Body, param: str) -> Text:
    """A text as it is; HTML stays markup. Raises BadRequest, Unsupported (PDF and other binaries)."""
    for magic, what in BINARIES:
        if body.data.startswith(magic):
            raise Unsupported(
                f"What '{param}' names is {what}, which is not read here.",
                hint="Send its text.",
                param=param,
            )
    kind = body.kind
    if not (kind in UNTOLD or kind in TEXTS or kind.startswith("text/") or kind.endswith(("+json", "+xml"))):
        raise _bad(param, "a text", f"{_shown(kind)} came")
    try:
        text = body.data.decode(_charset(body, param))
    except UnicodeError as error:
        raise _bad(param, "a text", "it is not in its charset (by default UTF-8)") from error
    if _CONTROL.search(text):
        raise _bad(param, "a text", "it holds control characters")
    return Text(text.removeprefix("\ufeff"))


def _charset(body: Body, param: str) -> str:
    if not body.charset:
        return "utf-16" if body.data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    try:
        name = codecs.lookup(body.charset).name
    except (LookupError, ValueError):
        name = ""
    if name not in CHARSETS:
        raise _bad(param, "a text", "its charset is not known here")
    return name


def _shown(kind: str) -> str:
    return kind if _KIND.match(kind) else "something else"


def _bad(param: str, wanted: str, why: str) -> BadRequest:
    return BadRequest(
        f"What '{param}' names is not {wanted}: {why}.",
        hint="Send the content itself, or the address of a PNG, JPEG or WebP image or of a plain text.",
        param=param,
    )
