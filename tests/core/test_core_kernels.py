"""What a library tells of itself is read with care: it comes from a file that a worker writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inhouse.core.kernels import LARGEST, Report, parse, read

TOLD = {
    "version": "0.1.0", "on": True, "why": "", "isa": "avx512-vnni", "passed_over": "",
    "types": {"q4_K": "", "q5_0": "its self-test failed"}, "tensors": {"q4_K": 168}, "bytes": 123,
}  # fmt: skip


def test_a_report_is_read_and_told_again_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(TOLD))
    found = read(path)
    assert found is not None
    assert found.facts() == TOLD
    assert found.enabled == ("q4_K",)
    assert read(str(path)) == found


def test_what_is_missing_is_empty() -> None:
    assert parse(b"{}") == Report()
    assert parse(b'{"on": false, "why": "no such CPU"}') == Report(why="no such CPU")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"nonsense", b"[]", b"7", b"null", b'{"types": []}', b'{"types": {"q4_K": 1}}', b'{"bytes": "x"}',
        b'{"tensors": {"q4_K": null}}', b'{"version": 1}', b"\xff{}", b'{"bytes": 1e999}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_report_counts_as_none(data: bytes) -> None:
    assert parse(data) is None


def test_only_true_means_on() -> None:
    found = parse(b'{"on": "yes"}')
    assert found is not None
    assert not found.on


def test_what_is_shown_holds_no_control_characters_and_is_short() -> None:
    found = parse(json.dumps({"why": "a\x1b[31m\nb" + "x" * 1000}).encode())
    assert found is not None
    assert found.why.isprintable()
    assert len(found.why) == 200


def test_a_file_that_is_not_there_or_too_long_tells_nothing(tmp_path: Path) -> None:
    assert read("") is None
    assert read(tmp_path / "none") is None
    (tmp_path / "long").write_bytes(b" " * LARGEST + json.dumps(TOLD).encode())
    assert read(tmp_path / "long") is None
