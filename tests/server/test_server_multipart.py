"""multipart/form-data as a stream."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.errors import BadRequest
from inhouse.server.kept import multipart
from inhouse.server.kept.multipart import Form, Part, boundary_of, received

B = b"xYzZy"


def part(name: str, content: bytes, *more: bytes, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    head = f'Content-Disposition: form-data; name="{name}"{named}\r\n'.encode()
    return b"--" + B + b"\r\n" + head + b"".join(one + b"\r\n" for one in more) + b"\r\n" + content + b"\r\n"


def closed(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + B + b"--\r\n"


async def chunks(body: bytes, size: int = 2**16) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def read(body: bytes, size: int = 2**16) -> list[tuple[Part, bytes]]:
    form, out = Form(chunks(body, size), B), []
    while (found := await form.next()) is not None:
        out.append((found, b"".join([piece async for piece in form.content()])))
    assert await form.next() is None
    return out


@pytest.mark.parametrize("size", [1, 2, 3, 7, 2**16])
async def test_parts_come_one_after_another_however_the_body_is_cut(size):
    body = closed(
        part("purpose", b"batch"),
        part("file", b"line\r\n--xYz\r\n--\r\n\r\nend", b"Content-Type: text/plain", filename="a b.txt"),
        part("empty", b""),
    )
    assert await read(body, size) == [
        (Part("purpose"), b"batch"),
        (Part("file", "a b.txt"), b"line\r\n--xYz\r\n--\r\n\r\nend"),
        (Part("empty"), b""),
    ]


@given(st.lists(st.binary(max_size=200), max_size=4), st.integers(1, 40))
async def test_any_content_comes_back(contents, size):
    contents = [one for one in contents if B not in one]
    body = closed(*(part(str(i), one) for i, one in enumerate(contents)))
    assert await read(body, size) == [(Part(str(i)), one) for i, one in enumerate(contents)]


@given(st.binary(max_size=300))
async def test_what_is_no_form_is_a_bad_request(body):
    with pytest.raises(BadRequest):
        await read(body)


async def test_what_is_not_read_is_skipped():
    form = Form(chunks(closed(part("a", b"x" * 1000), part("b", b"y")), 10), B)
    await form.next()
    assert await form.next() == Part("b")
    assert await form.text() == "y"
    assert await form.next() is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"junk" + closed(part("a", b"x")),
        part("a", b"x"),
        b"--" + B,
        b"--" + B + b"\r\n",
        b"--" + B + b"zz\r\n\r\nx\r\n--" + B + b"--",
        b"--" + B + b"\r\n\r\nx\r\n--" + B + b"--",
        b"--" + B + b"\r\nno header\r\n\r\nx\r\n--" + B + b"--",
        b"--" + B + b"\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--" + B + b"--",
        b"--" + B + b"\r\nContent-Disposition: form-data\r\n\r\nx\r\n--" + B + b"--",
        b'--' + B + b'\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n--' + B + b"--",
        closed(part("a", b"x", b"Content-Transfer-Encoding: base64")),
        closed(part("a", b"x", b"X: " + b"y" * 20_000)),
        b"--" + B + b"\r\nX: " + b"y" * 40_000,
        closed(*(part("a", b"x") for _ in range(33))),
    ],
    ids=range(15),
)  # fmt: skip
@pytest.mark.parametrize("size", [5, 2**16])
async def test_malformed_forms_are_refused(body, size):
    with pytest.raises(BadRequest, match="malformed"):
        await read(body, size)


@pytest.mark.parametrize("content", [b"\xff", b"x" * (multipart.MAX_TEXT + 1)])
async def test_fields_are_short_texts(content):
    form = Form(chunks(closed(part("a", content))), B)
    await form.next()
    with pytest.raises(BadRequest, match="field"):
        await form.text()


@pytest.mark.parametrize(
    "written, filename",
    [
        ('filename="a.txt"', "a.txt"),
        ("filename=a.txt", "a.txt"),
        ('filename=""', ""),
        ('filename="../../etc/passwd"', "../../etc/passwd"),
        ('filename="C:\\x\\y.txt"', "C:\\x\\y.txt"),
        ('filename="a\\"b;c.txt"', 'a"b;c.txt'),
        ('filename="a%22b%0D%0A.txt"', 'a"b\r\n.txt'),
        ('filename="Grüße.txt"', "Grüße.txt"),
        ("filename*=UTF-8''Gr%C3%BC%C3%9Fe.txt", "Grüße.txt"),
        ("filename=\"b\"; filename*=UTF-8''c", "b"),
        ("size=5", None),
    ],
)
async def test_names_of_files(written, filename):
    head = f'--xYzZy\r\ncontent-disposition: FORM-DATA; name="file"; {written}\r\n\r\nx\r\n--xYzZy--'
    ((found, _),) = await read(head.encode())
    assert found == Part("file", filename)


@pytest.mark.parametrize(
    "kind, boundary",
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data; charset=utf-8; Boundary="a b"', b"a b"),
        ("multipart/form-data; boundary=----WebKitFormBoundary7MA4; x=y", b"----WebKitFormBoundary7MA4"),
    ],
)
def test_boundaries(kind, boundary):
    assert boundary_of(kind) == boundary


@pytest.mark.parametrize(
    "kind",
    ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=a",
     "multipart/form-data; boundary=" + "x" * 71],
)  # fmt: skip
def test_bad_boundaries(kind):
    with pytest.raises(BadRequest):
        boundary_of(kind)


def receiver(messages: Iterator[dict]):
    async def receive() -> dict:
        return next(messages)

    return receive


async def test_a_body_is_read_to_its_end():
    sent = [{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.request", "body": b"b"}]
    assert [one async for one in received(receiver(iter(sent)), math.inf)] == [b"a", b"b"]


async def test_a_client_that_leaves_or_falls_silent_ends_the_upload():
    with pytest.raises(ConnectionError):
        await anext(received(receiver(iter([{"type": "http.disconnect"}])), 1.0))

    async def silent() -> dict:
        raise TimeoutError

    with pytest.raises(BadRequest, match="stalled"):
        await anext(received(silent, 1.0))
