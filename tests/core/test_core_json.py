"""Strict intake of JSON: rows 17 and 18 of the fault table."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core import json as strict
from inhouse.core.errors import BadRequest

REFUSED = {
    "empty": b"",
    "not an object": b"[1]",
    "a number": b"1",
    "invalid utf-8": b'{"a":"\xff"}',
    "utf-16": '{"a":1}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"a":1}',
    "lone surrogate": b'{"a":"\\ud800"}',
    "duplicate keys": b'{"a":1,"a":2}',
    "nested duplicate keys": b'{"x":[{"a":1,"a":1}]}',
    "nan": b'{"a":NaN}',
    "infinity": b'{"a":-Infinity}',
    "1e400": b'{"a":1e400}',
    "long integer": b'{"a":' + b"9" * 100_000 + b"}",
    "deep arrays": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "million keys": b"{" + b",".join(b'"k%d":0' % i for i in range(1_000_000)) + b"}",
    "trailing text": b'{"a":1} x',
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_what_rfc_8259_leaves_open_is_refused_quickly(body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(BadRequest):
        strict.parse(body)
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\N{GRINNING FACE}"}),
        (b'{"a":"nul \\u0000"}', {"a": "nul \x00"}),
        (b' {"a":[1,2.5,null,true]} ', {"a": [1, 2.5, None, True]}),
    ],
)
def test_valid_documents_are_decoded(body: bytes, value: object) -> None:
    assert strict.parse(body) == value


@given(st.binary(max_size=200))
def test_any_bytes_give_an_object_or_a_bad_request(body: bytes) -> None:
    try:
        assert isinstance(strict.parse(body), dict)
    except BadRequest as error:
        assert error.message
