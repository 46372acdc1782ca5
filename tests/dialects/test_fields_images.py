"""Images: known by their first bytes, within ceilings, never fetched."""

from __future__ import annotations

import base64
import struct
import time

import pytest

from inhouse.core.errors import BadRequest, BodyTooLarge, Unsupported
from inhouse.core.messages import Image, Remote
from inhouse.dialects.images import MAX_BYTES, from_base64, from_bytes, from_url, named


def png(width: int = 2, height: int = 3) -> bytes:
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I4sII", 13, b"IHDR", width, height)
        + b"\x08\x02\x00\x00\x00"
        + b"crc!"
    )


def jpeg(width: int = 2, height: int = 3) -> bytes:
    app = b"\xff\xe0" + struct.pack(">H", 6) + b"JFIF"
    frame = b"\xff\xff\xc0" + struct.pack(">HBHH", 11, 8, height, width) + b"\x01\x01\x11\x00"
    return b"\xff\xd8" + app + frame


def webp(kind: bytes, width: int = 2, height: int = 3) -> bytes:
    body = {
        b"VP8 ": b"\x00" * 6 + struct.pack("<HH", width, height),
        b"VP8L": b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\x00" * 10,
        b"VP8X": b"\x00" * 4 + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"),
    }[kind]
    return b"RIFF\x00\x00\x00\x00WEBP" + kind + b"\x00\x00\x00\x00" + body


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "data, mime",
    [
        (png(), "image/png"),
        (jpeg(), "image/jpeg"),
        (webp(b"VP8 "), "image/webp"),
        (webp(b"VP8L"), "image/webp"),
        (webp(b"VP8X"), "image/webp"),
    ],
)
def test_the_first_bytes_say_what_it_is(data, mime):
    image = from_base64(b64(data), "images[0]")
    assert (image.mime, image.data) == (mime, data)
    assert from_url(f"data:{mime};base64,{b64(data)}", "u").mime == mime


def test_line_breaks_in_base64_and_a_bare_data_uri_are_fine():
    assert from_base64("\r\n".join(b64(png())), "x").mime == "image/png"
    assert from_url(f"DATA:;base64,{b64(png())}", "x").mime == "image/png"
    assert from_url(f"data:image/jpg;base64,{b64(jpeg())}", "x").mime == "image/jpeg"


@pytest.mark.parametrize(
    "text",
    [
        "not base64!",
        "",
        b64(b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        b64(b"GIF89a" + b"\x00" * 40),
        b64(png()[:20]),
        b64(png(0, 5)),
        b64(png(30_000, 30_000)),
        b64(png(16_000, 16_000)),
        b64(jpeg()[:12]),
        b64(b"\xff\xd8\xff\x00" + b"\x00" * 20),
        b64(b"\xff\xd8" + b"\xff\xe0\x00\x01" * 9),
        b64(webp(b"VP8 ")[:20]),
        b64(webp(b"VP8 ").replace(b"VP8 ", b"ODD ")),
        "é",
    ],
)
def test_what_is_no_sound_image_is_refused(text):
    with pytest.raises(BadRequest) as caught:
        from_base64(text, "images[0]")
    assert caught.value.param == "images[0]"


def test_a_file_too_large_is_refused_before_it_is_decoded():
    with pytest.raises(BodyTooLarge):
        from_base64("A" * (MAX_BYTES * 4 // 3 + 8), "images[0]")


def test_sound_is_not_an_image():
    with pytest.raises(Unsupported):
        from_base64(b64(b"RIFF\x00\x00\x00\x00WAVEfmt "), "images[0]")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/x.png",
        "https://example.com/x.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "ftp://x",
        "",
        "data:image/png," + "x",
        "data:image/png;base64",
        f"data:image/jpeg;base64,{b64(png())}",
        f"data:text/html;base64,{b64(png())}",
    ],
)
def test_only_true_data_uris_are_taken(url):
    with pytest.raises(BadRequest) as caught:
        from_url(url, "url")
    assert caught.value.param == "url"
    assert "passwd" not in caught.value.message


@pytest.mark.parametrize("url", ["http://example.com/x.png", "HTTPS://example.com/x.png"])
def test_an_address_is_only_named(url):
    assert named(url, "url") == Remote(url, "image", "url")


def test_where_an_address_may_stand_a_data_uri_is_read_and_all_else_refused():
    assert named(f"data:image/png;base64,{b64(png())}", "url") == Image(png(), "image/png")
    for text in ("file:///etc/passwd", "httpx://x", ""):
        with pytest.raises(BadRequest):
            named(text, "url")


def test_bytes_over_the_ceiling_are_refused_whatever_they_are():
    assert from_bytes(png(), "x").data == png()
    with pytest.raises(BodyTooLarge):
        from_bytes(png() + bytes(MAX_BYTES), "x")


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\xe0\0\2"], ids=["fill bytes", "empty segments"])
def test_a_jpeg_of_nothing_but_markers_is_refused_fast(filler):
    before = time.process_time()
    with pytest.raises(BadRequest, match="cut off"):
        from_bytes(b"\xff\xd8" + filler * ((MAX_BYTES - 2) // len(filler)), "p")
    assert time.process_time() - before < 0.5
