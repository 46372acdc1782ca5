"""Files from strangers that are text: decoded, named, put into the conversation. Nothing is parsed."""

from __future__ import annotations

import base64
import binascii

from ..core.errors import BadRequest, BodyTooLarge, Unsupported
from ..core.messages import Text

MAX_BYTES = 8 * 2**20
MAX_NAME = 255
_HINT = "Send text: plain, Markdown, CSV, JSON and the like."
_TYPES = ("application/json", "application/xml", "application/x-yaml", "application/yaml", "application/csv")


def from_data(data: str, name: str, param: str) -> Text:
    """The text of a ``data:`` URI or of bare base64. Raises BadRequest, BodyTooLarge, Unsupported."""
    kind, body = "", data
    if data[:5].lower() == "data:":
        head, comma, body = data[5:].partition(",")
        kind, *options = head.lower().split(";")
        if not comma or "base64" not in options:
            raise BadRequest(f"Invalid file in '{param}': a data: URI must be base64.", param=param)
    if len(body) > MAX_BYTES * 4 // 3 + 4:
        raise _too_large(param)
    try:
        raw = base64.b64decode(body, validate=True)
    except (ValueError, binascii.Error):
        raise BadRequest(f"Invalid file in '{param}': it is not valid base64.", param=param) from None
    if kind and not kind.startswith("text/") and kind not in _TYPES:
        raise _no_text(param)
    return from_bytes(raw, name, param)


def from_bytes(raw: bytes, name: str, param: str) -> Text:
    """A file's text under its name. Raises BodyTooLarge, Unsupported for what is no UTF-8 text."""
    if len(raw) > MAX_BYTES:
        raise _too_large(param)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _no_text(param) from None
    if raw[:5] == b"%PDF-" or "\0" in text:
        raise _no_text(param)
    shown = "".join(c for c in name if c.isprintable())[:MAX_NAME]
    return Text(f"File {shown or 'without a name'}:\n{text}\n")


def _too_large(param: str) -> BodyTooLarge:
    return BodyTooLarge(
        f"The file in '{param}' is larger than {MAX_BYTES // 2**20} MiB.", hint="Send a part.", param=param
    )


def _no_text(param: str) -> Unsupported:
    return Unsupported(f"The file in '{param}' is not text.", hint=_HINT, param=param)
