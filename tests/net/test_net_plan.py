"""Which bytes are fetched next, and what a journal remembers. Pure, and by properties."""

from __future__ import annotations

import json
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhouse.net import journal
from inhouse.net import plan as plans
from inhouse.net.journal import Journal, Past
from inhouse.net.plan import SHARE_LEAST, Plan, piece_size

MB = 2**20
KB = 2**10


def drain(plan: Plan, segment) -> None:
    plan.advance(segment, segment.left)
    plan.leave(segment)


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 40 * KB),
    piece=st.sampled_from([256, 1024]),
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3 * KB), st.booleans()), max_size=60),
    data=st.data(),
)
def test_whatever_streams_do_each_byte_is_fetched_once_and_all_are(size, piece, steps, data):
    with mock.patch.multiple(plans, SHARE_LEAST=8 * KB, SHARE_MOST=64 * KB):
        walk(size, piece, steps, data)


def walk(size, piece, steps, data):
    count = -(-size // piece)
    done = data.draw(st.sets(st.integers(0, count - 1)))
    plan = Plan(size, piece, done, streams=4)
    got = bytearray(size)
    for index in done:
        got[index * piece : (index + 1) * piece] = b"\1" * len(got[index * piece : (index + 1) * piece])
    held = {}
    now = 0.0

    def advance(segment, amount):
        amount = min(amount, segment.left)
        start = segment.pos
        found = plan.advance(segment, amount)
        for at in (start, start + amount - 1):
            assert not got[at]
        got[start : start + amount] = b"\1" * amount
        for index in found:
            assert all(got[index * piece : (index + 1) * piece])

    for stream, amount, gives_up in steps:
        now += 0.7
        plan.observe(now)
        segment = held.get(stream) or plan.take(now)
        if segment is None:
            continue
        held[stream] = segment
        if segment.left:
            advance(segment, amount)
        if gives_up or not segment.left:
            plan.leave(held.pop(stream))
        assert plan.completed == sum(got)
        assert all(got[: plan.prefix])
    for segment in held.values():
        plan.leave(segment)
    while segment := plan.take(now):
        advance(segment, segment.left)
        plan.leave(segment)
    assert plan.finished
    assert all(got)
    assert plan.prefix == size


def test_pieces_are_small_against_the_file():
    assert piece_size(1) == 2**18
    assert piece_size(256 * MB) == MB
    assert piece_size(100 * 2**30) == 4 * MB
    assert all(4 * piece_size(size * MB) < size * MB / 10 for size in (32, 64, 1000, 40_000))


def test_ranges_are_handed_out_from_the_front_and_one_stream_gets_all():
    plan = Plan(100 * MB, MB, streams=4)
    first, second = plan.take(0), plan.take(0)
    assert (first.pos, first.end, second.pos) == (0, SHARE_LEAST, SHARE_LEAST)
    alone = Plan(100 * MB, MB).take(0)
    assert (alone.pos, alone.end) == (0, 100 * MB)


def test_an_idle_stream_takes_half_of_the_longest_range():
    plan = Plan(16 * MB, MB, streams=2)
    one, two = plan.take(0), plan.take(0)
    plan.advance(one, 4 * MB)
    plan.advance(two, 2 * MB)
    plan.observe(2.0)
    plan.advance(one, one.left)
    plan.leave(one)
    third = plan.take(2.0)
    assert (two.pos, two.end, third.pos, third.end) == (10 * MB, 13 * MB, 13 * MB, 16 * MB)


def test_a_range_that_hardly_moves_is_taken_over_whole():
    plan = Plan(16 * MB, MB, streams=2)
    slow, fast = plan.take(0), plan.take(0)
    plan.advance(slow, 3)
    plan.advance(fast, 8 * MB)
    plan.observe(1.0)
    plan.leave(fast)
    taken = plan.take(1.0)
    assert (taken.pos, taken.end, slow.left) == (3, 8 * MB, 0)
    assert plan.advance(slow, 100) == []
    drain(plan, taken)
    assert plan.finished


def test_streams_of_equal_speed_do_not_fight_over_the_last_piece():
    plan = Plan(2 * MB, MB, streams=2)
    segment = plan.take(0)
    plan.advance(segment, MB + 1)
    plan.observe(1.0)
    assert plan.take(1.0) is None


# -- the journal


PAST = Past(size=10 * MB, piece=MB, validator='"v1"', sha256="a" * 64)


@pytest.fixture
def folder(tmp_path):
    with (tmp_path / "data.part").open("wb") as file:
        file.truncate(10 * MB)
    return tmp_path


def written(folder, *pieces: int) -> Journal:
    book = Journal(folder, PAST)
    book.add(list(pieces))
    return book


def test_a_journal_is_read_back_and_begun_anew_with_what_it_held(folder):
    written(folder, 3, 1).close()
    past = journal.read(folder)
    assert past is not None
    assert (past.size, past.validator, past.done, past.here) == (10 * MB, '"v1"', {1, 3}, 2 * MB)
    Journal(folder, past).close()
    again = journal.read(folder)
    assert again is not None
    assert again.done == {1, 3}


@given(cut=st.integers(0, 400))
@settings(max_examples=50, deadline=None)
def test_a_journal_torn_anywhere_never_claims_a_piece_that_is_not_there(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("torn")
    with (folder / "data.part").open("wb") as file:
        file.truncate(10 * MB)
    written(folder, 1, 4, 7, 9).close()
    path = folder / "data.journal"
    path.write_bytes(path.read_bytes()[:cut])
    past = journal.read(folder)
    assert past is None or past.done <= {1, 4, 7, 9}


HEAD = {"size": 10 * MB, "piece": MB, "validator": "v", "sha256": "", "boot": journal.boot()}


@pytest.mark.parametrize(
    "text",
    ["", "\n", "{}\n", "[]\n", '{"size": 1}\n', "nonsense\n", "x" * 100, json.dumps(None) + "\n"]
    + [
        json.dumps(HEAD | {"piece": piece}) + f"\n{line}\n"
        for piece, line in [(MB, "10"), (MB, "-1"), (MB, "x"), (MB, "s x"), (0, "1"), ("a", "1")]
    ],
)
def test_a_journal_that_is_not_ours_is_ignored(folder, text):
    (folder / "data.journal").write_text(text)
    assert journal.read(folder) is None


def test_a_journal_of_a_file_of_another_size_is_ignored(folder):
    written(folder, 1).close()
    with (folder / "data.part").open("rb+") as file:
        file.truncate(5)
    assert journal.read(folder) is None
    (folder / "data.part").unlink()
    assert journal.read(folder) is None


def test_after_a_power_failure_only_what_was_synced_counts(folder, monkeypatch):
    book = written(folder, 1, 2)
    book.synced(book.count)
    book.add([3, 4])
    book.close()
    past = journal.read(folder)
    assert past is not None
    assert past.done == {1, 2, 3, 4}
    monkeypatch.setattr(journal, "boot", lambda: "another run of the machine")
    past = journal.read(folder)
    assert past is not None
    assert past.done == {1, 2}


def test_a_run_of_the_machine_has_a_name_where_proc_is_not(monkeypatch):
    assert journal.boot() == journal.boot() != ""
    monkeypatch.setattr(journal, "Path", lambda text: journal.os.fspath and _Nowhere())
    assert journal.boot().isdigit()


class _Nowhere:
    def read_text(self) -> str:
        raise FileNotFoundError


def test_a_finished_file_is_found_again(folder):
    written(folder, *range(10)).close()
    (folder / "data.part").rename(folder / "data")
    past = journal.read(folder)
    assert past is not None
    assert past.here == past.size
    assert (folder / "data.part").exists()


def test_what_a_journal_is_of():
    assert PAST.is_of("a" * 64, 0)
    assert PAST.is_of("a" * 64, 10 * MB)
    assert not PAST.is_of("a" * 64, 1)
    assert not PAST.is_of("", 10 * MB)
    assert not PAST.is_of("b" * 64, 0)
    assert PAST.same_version(10 * MB, '"v1"')
    assert not PAST.same_version(10 * MB, '"v2"')
    assert not Past(1, 1, "", "").same_version(1, "")
