"""Lines on disk: bounded, never in the way, whole again after whatever killed the writer."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from inhouse.journal import book as module
from inhouse.journal.book import DAY, LONGEST, PIECES, Book


class Clock:
    """Seconds since 1970 that a test turns."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def pieces(folder: Path) -> list[Path]:
    return sorted(folder.glob("events.*.jsonl"))


def kept(folder: Path, **more: Any) -> Book:
    return Book(folder, "events", **{"size": 80_000, "days": 0, **more})


def test_what_is_appended_is_there_for_the_next_one_in_order(tmp_path: Path) -> None:
    first = kept(tmp_path / "journal")
    assert first.last(5) == []
    for number in range(100):
        first.append(b"%d" % number)
    first.close()
    second = kept(tmp_path / "journal")
    second.append(b"100")
    assert second.flush()
    assert list(second.lines()) == [b"%d" % n for n in range(101)]
    assert second.last(3) == [b"98", b"99", b"100"]
    second.close()
    assert first.dropped == second.dropped == 0


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    book = kept(tmp_path / "journal")
    book.append(b"{}")
    book.close()
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    assert [p.stat().st_mode & 0o777 for p in pieces(tmp_path / "journal")] == [0o600]


def test_the_oldest_lines_go_when_it_is_full(tmp_path: Path) -> None:
    clock = Clock()
    book = kept(tmp_path, clock=clock)
    for number in range(4000):
        book.append(b"%099d" % number)
    book.close()
    assert len(pieces(tmp_path)) == PIECES
    assert sum(p.stat().st_size for p in pieces(tmp_path)) <= 80_000
    left = [int(line) for line in kept(tmp_path).lines()]
    assert left == list(range(4000 - len(left), 4000))
    assert len(left) >= 600


def test_lines_go_when_they_are_old(tmp_path: Path) -> None:
    clock = Clock()
    book = kept(tmp_path, days=16, clock=clock)
    for day in range(40):
        clock.now += DAY
        book.append(b"%d" % day)
        assert book.flush()
    book.close()
    left = [int(line) for line in kept(tmp_path).lines()]
    assert left[-1] == 39
    assert 16 <= len(left) <= 20


def test_a_clock_that_is_set_back_loses_nothing_and_keeps_the_order(tmp_path: Path) -> None:
    clock = Clock()
    for number in range(12):
        clock.now -= DAY
        book = kept(tmp_path, size=8 * PIECES, clock=clock)
        book.append(b"%06d" % number)
        book.close()
    left = [int(line) for line in kept(tmp_path).lines()]
    assert left == sorted(left)
    assert left[-1] == 11
    assert len(left) == PIECES


def test_a_torn_last_line_does_not_swallow_the_next(tmp_path: Path) -> None:
    book = kept(tmp_path)
    book.append(b'{"a":1}')
    book.close()
    with pieces(tmp_path)[0].open("ab") as file:
        file.write(b'{"b":')
    again = kept(tmp_path)
    again.append(b'{"c":3}')
    again.close()
    assert list(again.lines()) == [b'{"a":1}', b'{"b":', b'{"c":3}']


class FullDisk:
    """``os.write`` that takes ``room`` bytes and then finds the disk full."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.write

    def __call__(self, file: int, data: Any) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = bytes(data)[: self.room]
        self.room -= len(part)
        return self._write(file, part)


def test_a_full_disk_costs_lines_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "inhouse.journal")
    logging.getLogger("inhouse").propagate = True
    book = kept(tmp_path)
    book.append(b"before")
    assert book.flush()
    monkeypatch.setattr(module.os, "write", FullDisk(3))
    for _ in range(5):
        book.append(b"lost in the middle")
        assert book.flush()
    assert book.dropped == 5
    monkeypatch.undo()
    book.append(b"after")
    book.close()
    assert list(book.lines()) == [b"before", b"after"]
    said = [r.getMessage() for r in caplog.records]
    assert len(said) == 2
    assert "not written down" in said[0]
    assert "5 lines were lost" in said[1]


def test_a_folder_that_cannot_be_made_costs_lines_only(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file is in the way")
    book = kept(tmp_path / "journal")
    book.append(b"x")
    assert book.flush()
    assert book.dropped == 1
    assert book.last(3) == []
    book.close()


def test_a_disk_that_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    write = os.write
    monkeypatch.setattr(module, "PENDING", 50)
    monkeypatch.setattr(module.os, "write", lambda file, data: free.wait(20) and write(file, data))
    book = kept(tmp_path)
    book.append(b"first")
    for number in range(200):
        book.append(b"%d" % number)
    assert not book.flush(0.05)
    assert book.dropped >= 100
    free.set()
    book.close()
    assert next(iter(book.lines())) == b"first"


def test_a_line_that_is_too_long_is_dropped(tmp_path: Path) -> None:
    book = kept(tmp_path)
    book.append(b"x" * (LONGEST + 1))
    book.append(b"short")
    book.close()
    assert (book.dropped, list(book.lines())) == (1, [b"short"])
    book.append(b"after the end")
    assert book.dropped == 2


WRITER = """
import sys
from pathlib import Path
from inhouse.journal import Book
book = Book(Path(sys.argv[1]), "events", size=10**9, days=0)
number = 0
while True:
    book.append(b'{"number":%d}' % number)
    number += 1
    if number % 500 == 0:
        book.flush()
        print(number, flush=True)
"""


def test_a_killed_writer_leaves_whole_lines(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        flushed = [int(writer.stdout.readline()) for _ in range(6)][-1]
        writer.kill()
    lines = list(kept(tmp_path).lines())
    whole = [line for line in lines if line.endswith(b"}")]
    assert len(lines) - len(whole) <= 1
    assert [int(line[10:-1]) for line in whole] == list(range(len(whole)))
    assert len(whole) >= flushed
