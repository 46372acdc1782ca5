"""Bytes of strangers: what they are decides, and what they claim must not contradict it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.attachments.fetch import Body, declared
from inhouse.attachments.read import image_of, text_of
from inhouse.core.errors import BadRequest, Unsupported
from inhouse.core.messages import Image, Text

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 2, 3) + b"\x08\x02\x00\x00\x00crc!"
JPEG = b"\xff\xd8\xff\xc0" + struct.pack(">HBHH", 11, 8, 3, 2) + b"\x01\x01\x11\x00"


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "image/x-icon", "", "application/octet-stream"])
def test_the_first_bytes_say_which_image_it_is(kind):
    assert image_of(Body(PNG, kind, ""), "p") == Image(PNG, "image/png")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>", "image/svg+xml"),
        (b"<!doctype html>", "text/html"),
        (PNG, "text/html"),
        (PNG, "application/pdf"),
        (b"%PDF-1.7", "image/png"),
        (b"GIF89a" + bytes(60), "image/gif"),
        (PNG[:20], "image/png"),
        (JPEG[:7], "image/jpeg"),
        (b"", "image/png"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "image/webp"),
        (PNG.replace(struct.pack(">II", 2, 3), struct.pack(">II", 60_000, 60_000)), "image/png"),
    ],
)
def test_what_is_no_sound_image_is_refused(data, kind):
    with pytest.raises(BadRequest) as caught:
        image_of(Body(data, kind, ""), "messages[3]")
    assert caught.value.param == "messages[3]"


@pytest.mark.parametrize(
    ("data", "kind", "charset", "wanted"),
    [
        ("Größe ✓\n\tx".encode(), "text/plain", "", "Größe ✓\n\tx"),
        (b"\xef\xbb\xbfx", "text/plain", "utf-8", "x"),
        ("é".encode("latin-1"), "text/plain", "ISO-8859-1", "é"),
        ("é".encode("cp1252"), "text/plain", "windows-1252", "é"),
        ("漢字".encode("shift_jis"), "text/plain", "Shift_JIS", "漢字"),
        ("é".encode("utf-16"), "", "", "é"),
        (b'{"a": 1}', "application/json", "", '{"a": 1}'),
        (b"# x", "text/markdown", "", "# x"),
        (b"<p>x</p>", "text/html", "", "<p>x</p>"),
        (b"<a/>", "image/svg+xml", "", "<a/>"),
        (b"{}", "application/ld+json", "", "{}"),
        (b"x", "application/octet-stream", "", "x"),
        (b"", "text/plain", "", ""),
    ],
)
def test_texts_are_read_in_the_charset_they_claim(data, kind, charset, wanted):
    assert text_of(Body(data, kind, charset), "p") == Text(wanted)


@pytest.mark.parametrize(
    ("data", "kind", "what"),
    [
        (b"%PDF-1.7\n", "application/pdf", "PDF"),
        (b"%PDF-1.7\n", "text/plain", "PDF"),
        (b"PK\x03\x04xx", "", "ZIP"),
        (b"\x1f\x8bxx", "text/plain", "gzip"),
        (PNG, "text/plain", "image"),
        (JPEG, "", "image"),
    ],
)
def test_binaries_are_refused_by_name(data, kind, what):
    with pytest.raises(Unsupported) as caught:
        text_of(Body(data, kind, ""), "messages[3]")
    assert what in caught.value.message
    assert caught.value.param == "messages[3]"


@pytest.mark.parametrize(
    ("data", "kind", "charset"),
    [
        (b"\xff\xfe\xff", "text/plain", "utf-8"),
        (b"\xe9", "text/plain", ""),
        (b"a\x00b", "text/plain", ""),
        (b"a\x1a", "text/plain", ""),
        (b"x", "video/mp4", ""),
        (b"x", "application/x-msdownload", ""),
        (b"x", "evil type<script>", ""),
        (b"x", "text/plain", "idna"),
        (b"x", "text/plain", "base64"),
        (b"x", "text/plain", "unicode_escape"),
        (b"x", "text/plain", "no\x00such"),
        (b"x", "text/plain", "nonsense"),
    ],
)
def test_what_is_no_text_is_refused(data, kind, charset):
    with pytest.raises(BadRequest) as caught:
        text_of(Body(data, kind, charset), "messages[3]")
    assert caught.value.param == "messages[3]"
    assert "script" not in caught.value.message


@given(st.binary(max_size=80), st.sampled_from(["", "image/png", "text/plain"]), st.text(max_size=12))
def test_any_bytes_are_read_or_refused(data, kind, charset):
    for read in (image_of, text_of):
        try:
            part = read(Body(data, kind, charset), "p")
        except BadRequest:
            continue
        assert part == Image(data, "image/png") or "\x00" not in getattr(part, "text", "")


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", ("", "")),
        ("Text/Plain", ("text/plain", "")),
        ('text/plain; x=y; Charset="UTF-8"', ("text/plain", "utf-8")),
        ("text/plain;charset=", ("text/plain", "")),
        (";;;", ("", "")),
    ],
)
def test_a_content_type_is_a_kind_and_a_charset(header, wanted):
    assert declared(header) == wanted
