"""Images from strangers: checked by their first bytes; nothing is decoded and nothing fetched."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import NoReturn

from ..core.errors import BadRequest, BodyTooLarge, Unsupported
from ..core.messages import Image, Remote

MAX_BYTES = 20 * 2**20
MAX_SIDE = 16_384
MAX_PIXELS = 64 * 10**6
MAX_IMAGES = 32
MAX_SEGMENTS = 10_000
_HINT = "Send a PNG, JPEG or WebP image."


def _bad(param: str, what: str) -> NoReturn:
    raise BadRequest(f"Invalid image in '{param}': {what}.", hint=_HINT, param=param)


def from_base64(text: str, param: str) -> Image:
    """Decode and check one image. Raises BadRequest, BodyTooLarge or Unsupported (sound)."""
    if len(text) > MAX_BYTES * 4 // 3 + 4:
        raise _too_large(param)
    try:
        data = base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (ValueError, binascii.Error):
        _bad(param, "it is not valid base64")
    return from_bytes(data, param)


def from_bytes(data: bytes, param: str) -> Image:
    """Check one image. Raises BadRequest, BodyTooLarge or Unsupported (sound)."""
    if len(data) > MAX_BYTES:
        raise _too_large(param)
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        raise Unsupported(f"Sound in '{param}' is not supported here.", hint=_HINT, param=param)
    mime = _sniff(data)
    if mime is None:
        _bad(param, "it is not a PNG, JPEG or WebP image")
    size = _SIZES[mime](data)
    if size is None:
        _bad(param, "it is cut off")
    width, height = size
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        _bad(
            param,
            f"its size must be 1..{MAX_SIDE} pixels a side and {MAX_PIXELS // 10**6} megapixels at most",
        )
    return Image(data, mime)


def _too_large(param: str) -> BodyTooLarge:
    return BodyTooLarge(
        f"The image in '{param}' is larger than {MAX_BYTES // 2**20} MiB.",
        hint="Scale it down first.",
        param=param,
    )


def named(url: str, param: str) -> Image | Remote:
    """The image of a ``data:`` URI, or the place of one at an http(s) address, which whoever prepares
    the request fetches or refuses. Raises like ``from_base64``."""
    if url[:8].lower().startswith(("http://", "https://")):
        return Remote(url, "image", param)
    return from_url(url, param)


def from_url(url: str, param: str) -> Image:
    """The image of a ``data:`` URI; any other scheme is refused."""
    scheme, colon, rest = url.partition(":")
    if not colon or scheme.lower() != "data":
        raise BadRequest(
            f"'{param}' must be a base64 data: URI or an http(s) address.",
            hint="Send data:image/png;base64,...",
            param=param,
        )
    head, comma, body = rest.partition(",")
    kind, *options = head.lower().split(";")
    if not comma or "base64" not in options:
        _bad(param, "a data: URI must be base64")
    image = from_base64(body, param)
    claimed = {"image/jpg": "image/jpeg", "": image.mime}.get(kind, kind)
    if claimed != image.mime:
        _bad(param, f"it is {image.mime}, not what its data: URI says")
    return image


def _sniff(data: bytes) -> str | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def _png_size(data: bytes) -> tuple[int, int] | None:
    if len(data) < 33 or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    for _ in range(MAX_SEGMENTS):  # a file of nothing but markers would take seconds
        if at + 9 > len(data) or data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte before a marker
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            return None
        at += 2 + length
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    if len(data) < 30:
        return None
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return None


_SIZES = {"image/png": _png_size, "image/jpeg": _jpeg_size, "image/webp": _webp_size}
