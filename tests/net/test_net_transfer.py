"""Downloads from a server that stalls, lies, truncates and changes its mind."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import threading
import time

import pytest

from inhouse.core.errors import Cancelled, DigestMismatch, NoSpace, SourceFailed
from inhouse.net import Client, ranges, transfer
from inhouse.net.journal import Journal, Past
from inhouse.net.transfer import remaining
from inhouse.store.sources.base import Asset, Got, Policy, PullEvent, Throttle, Watch
from support.fileserver import Fault, FileServer
from support.running import until

MB = 2**20
BIG = random.Random(1).randbytes(40 * MB + 12345)  # several streams
SMALL = random.Random(2).randbytes(3 * MB + 7)  # one
OTHER = random.Random(3).randbytes(len(SMALL))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def server():
    with FileServer({"/big": BIG, "/small": SMALL}) as server:
        yield server


class Pull:
    """One download; ``events`` are what was said."""

    def __init__(self, server: FileServer, folder, *, stall: float = 5.0, rate: int = 0, streams: int = 4):
        self.events: list[PullEvent] = []
        policy = Policy(stall=stall, rate=Throttle(rate), streams=streams)
        self.watch = Watch(self.events.append, policy, trusted=True)
        self.server, self.folder = server, folder

    def get(self, path: str, pin: bytes | None = None, size: int = 0, **kinds) -> Got:
        asset = Asset("model", "m.gguf", size, sha(pin) if pin is not None else "")
        with Client(self.watch, pause=0.001) as client:
            return client.download(self.server.url(path), asset, self.folder, **kinds)


@pytest.fixture
def pull(server, tmp_path):
    return Pull(server, tmp_path)


def check(got: Got, data: bytes) -> None:
    assert (got.size, got.sha256) == (len(data), sha(data))
    assert got.path.read_bytes() == data
    assert not got.in_place
    assert got.path.name == "data"


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize(("path", "data"), [("/big", BIG), ("/small", SMALL)])
def test_a_file_comes_whole_and_hashed(server, pull, path, data, pinned):
    check(pull.get(path, data if pinned else None, len(data) if pinned else 0), data)
    assert server.sent() == len(data)
    assert len({hit.headers.get("range") for hit in server.hits}) == len(server.hits)


def cancelled(pull: Pull, path: str) -> None:
    with pytest.raises(Cancelled):
        pull.get(path, b"")


def test_a_large_file_comes_in_parallel_ranges_and_a_small_one_in_one(server, pull):
    server.faults.append(Fault(stall=1000))
    for path, streams in (("/big", 4), ("/small", 1)):
        server.hits.clear()
        again = Pull(server, pull.folder)
        thread = threading.Thread(target=cancelled, args=(again, path))
        thread.start()
        until(lambda: len(server.hits) == streams)  # noqa: B023
        again.watch.stopped.set()
        thread.join()
        assert len({hit.span for hit in server.hits}) == len(server.hits) == streams


def test_progress_is_told_in_order_and_ends_with_all(pull):
    pull.get("/big", BIG, len(BIG))
    *pulling, verifying = pull.events
    assert verifying == PullEvent("verifying sha256 digest")
    assert {e.status for e in pulling} == {f"pulling {sha(BIG)[:12]}"}
    assert {e.digest for e in pulling} == {f"sha256:{sha(BIG)}"}
    done = [e.completed for e in pulling]
    assert done == sorted(done)
    assert done[-1] == len(BIG) == pulling[-1].total


def test_progress_is_told_at_most_ten_times_a_second(monkeypatch):
    events: list[PullEvent] = []
    clock = [0.0]
    monkeypatch.setattr(transfer.time, "monotonic", lambda: clock[0])
    meter = transfer.Meter(Watch(events.append), Asset("model", "a/m.gguf"), 1000)
    for at in range(1000):
        clock[0] += 0.01
        meter.at(at)
    meter.at(500)
    meter.at(1000, last=True)
    assert 80 <= len(events) <= 105
    assert [e.completed for e in events] == sorted(e.completed for e in events)
    assert events[0].status == "pulling m.gguf"
    assert events[0].digest == ""


def test_an_empty_file_and_one_of_unknown_length_come_too(server, pull, tmp_path):
    server.files["/empty"] = b""
    check(pull.get("/empty"), b"")
    server.faults.append(
        Fault(path="/small", no_ranges=True, headers={"Content-Length": ""}, truncate=len(SMALL))
    )
    check(pull.get("/small"), SMALL)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(times=3, reset=100_000),
        Fault(times=3, truncate=100_000),
        Fault(times=2, truncate=0),
        Fault(times=2, status=503),
        Fault(times=1, status=429, headers={"Retry-After": "0"}),
        Fault(times=1, content_range="bytes 5-9/99", when=lambda hit: hit.span and hit.span[0] > 0),
        Fault(times=1, no_ranges=True, when=lambda hit: hit.span and hit.span[0] > 0),
        Fault(times=2, extra=b"more than was announced"),
    ],
    ids=lambda fault: ",".join(k for k, v in vars(fault).items() if v and k not in ("times", "when")),
)
@pytest.mark.parametrize("path", ["/big", "/small"])
def test_a_part_that_breaks_is_fetched_again(server, pull, fault, path):
    data = server.read(path)
    server.faults.append(Fault(**{**vars(fault)}))
    check(pull.get(path, data), data)
    assert server.sent() < len(data) * 1.6


@pytest.mark.parametrize(
    "fault",
    [
        Fault(no_ranges=True),
        Fault(no_ranges=True, etag="", modified=""),
        Fault(etag="", modified=""),
        Fault(content_range="bytes 7-9/12", when=lambda hit: hit.span),
        Fault(content_range="bytes 0-1/*", when=lambda hit: hit.span),
        Fault(etag='W/"weak"', modified=""),
        Fault(status=416, when=lambda hit: hit.span),
    ],
    ids=["none", "none, no version", "no version", "lies", "no size", "weak", "416"],
)
def test_without_ranges_to_rely_on_it_comes_in_one_stream(server, pull, fault):
    server.faults.append(fault)
    check(pull.get("/big"), BIG)
    assert len(server.hits) <= 2


def test_in_one_stream_a_break_begins_again(server, pull):
    server.faults += [Fault(times=2, no_ranges=True, truncate=MB), Fault(no_ranges=True)]
    check(pull.get("/small", SMALL), SMALL)
    assert [hit.status for hit in server.hits] == [200, 200, 200]
    server.faults[:] = [Fault(no_ranges=True, truncate=MB)]
    with pytest.raises(SourceFailed, match="breaks off"):
        pull.get("/small", OTHER)


@pytest.mark.parametrize(("path", "data"), [("/big", BIG), ("/small", SMALL)])
def test_a_silent_part_is_asked_for_again_on_a_new_connection(server, tmp_path, path, data):
    server.faults.append(Fault(times=1, stall=300_000))
    check(Pull(server, tmp_path, stall=0.4).get(path, data), data)


def test_a_trickle_is_taken_over_by_a_faster_stream(server, tmp_path, monkeypatch):
    server.faults.append(
        Fault(times=1, trickle=1000, pace=0.05, when=lambda hit: hit.span and hit.span[0] > 0)
    )
    began = time.monotonic()
    check(Pull(server, tmp_path, stall=30).get("/big", BIG), BIG)
    assert time.monotonic() - began < 15


def test_a_trickle_in_the_only_stream_counts_as_silence(server, tmp_path):
    server.faults.append(Fault(times=1, trickle=1000, pace=0.05))
    check(Pull(server, tmp_path, stall=0.5).get("/small", SMALL), SMALL)


def test_a_source_that_allows_one_connection_is_used_with_one(server, pull):
    busy = threading.Lock()
    state = {"served": 0}

    def second(hit):
        with busy:
            state["served"] += 1
            return state["served"] % 2 == 0

    server.faults.append(Fault(status=503, when=second))
    check(pull.get("/big", BIG), BIG)


def test_after_six_failures_without_progress_it_gives_up_and_keeps_what_came(server, pull):
    server.faults.append(Fault(truncate=0, when=lambda hit: hit.span and hit.span[0] >= 16 * MB))
    with pytest.raises(SourceFailed, match="breaks off"):
        pull.get("/big", BIG)
    before = server.sent()
    assert before >= 16 * MB
    server.faults.clear()
    check(pull.get("/big", BIG), BIG)
    assert server.sent() < len(BIG) * 1.3


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "token"), (403, "token"), (404, "name"), (400, "address")]
)
def test_a_refusal_is_not_repeated(server, pull, status, hint):
    server.faults.append(Fault(status=status))
    with pytest.raises(SourceFailed, match=f"HTTP {status}") as caught:
        pull.get("/small")
    assert hint in caught.value.hint
    assert len(server.hits) == 1


def test_a_long_retry_after_is_handed_on(server, pull):
    server.faults.append(Fault(status=503, headers={"Retry-After": "3600"}))
    with pytest.raises(SourceFailed, match="3600 s") as caught:
        pull.get("/small")
    assert caught.value.retry_after == 3600


def test_a_compressed_model_is_refused(server, pull):
    server.faults.append(Fault(headers={"Content-Encoding": "gzip"}))
    with pytest.raises(SourceFailed, match="compressed"):
        pull.get("/small")


# -- versions


def swap(server: FileServer, path: str, data: bytes, at: int):
    """A fault that replaces the file when the request number ``at`` comes."""
    count = iter(range(1_000_000))

    def when(hit):
        if next(count) == at:
            server.files[path] = data
        return False

    return Fault(when=when)


@pytest.mark.parametrize("by", ["etag", "last-modified"])
def test_a_file_that_changes_on_the_way_is_begun_anew_and_never_mixed(server, pull, by):
    other = bytes(reversed(BIG))
    server.faults.append(swap(server, "/big", other, 3))
    if by == "last-modified":
        for data, date in ((BIG, "Mon, 05 Jan 2026 10:00:00 GMT"), (other, "Tue, 06 Jan 2026 10:00:00 GMT")):
            same = lambda hit, data=data: server.files["/big"] is data  # noqa: E731
            server.faults.append(Fault(etag="", modified=date, when=same))
    check(pull.get("/big"), other)


def test_a_file_that_changes_with_every_request_ends_in_an_error(server, pull):
    count = iter(range(1_000_000))

    class Restless(dict):
        def __getitem__(self, path):
            return next(count).to_bytes(8, "big") + BIG[8:]

    server.files = Restless(server.files)
    try:
        got = pull.get("/big")
    except SourceFailed:
        return
    data = got.path.read_bytes()  # in one stream it is of one version
    assert data[8:] == BIG[8:]


def test_what_came_of_another_version_is_not_used(server, pull):
    half_way(server, pull, "/small", None)
    server.files["/small"] = OTHER
    check(pull.get("/small"), OTHER)


def half_way(server: FileServer, pull: Pull, path: str, pin: bytes | None) -> None:
    """Fail in the middle, for good."""
    fault = Fault(truncate=0, when=lambda hit: hit.span and hit.span[0] >= MB)
    server.faults += [fault, Fault(times=1, truncate=MB + 5)]
    with pytest.raises(SourceFailed):
        pull.get(path, pin)
    server.faults.clear()
    server.hits.clear()


def test_what_came_is_used_where_the_digest_is_known_though_the_address_is_another(server, pull):
    half_way(server, pull, "/small", SMALL)
    server.files["/mirror"] = SMALL
    server.faults.append(Fault(etag='"other"', modified=""))
    assert remaining(pull.folder, Asset("model", "m", len(SMALL), sha(SMALL))) <= len(SMALL) - MB
    check(pull.get("/mirror", SMALL), SMALL)
    assert server.sent() <= len(SMALL) - MB


def test_what_came_was_wrong_then_it_is_fetched_anew(server, pull):
    half_way(server, pull, "/small", SMALL)
    with (pull.folder / "data.part").open("rb+") as file:
        file.write(b"damaged")
    check(pull.get("/small", SMALL), SMALL)
    assert server.sent() > len(SMALL)


def test_a_finished_file_is_not_fetched_again(server, pull):
    for pin in (None, SMALL):
        pull.get("/small", pin)
        server.hits.clear()
        check(pull.get("/small", pin), SMALL)
        assert server.sent() <= 1
        for left in pull.folder.iterdir():
            left.unlink()
    server.faults.append(Fault(no_ranges=True))
    pull.get("/small")
    check(pull.get("/small"), SMALL)
    assert remaining(pull.folder, Asset("model", "m", len(SMALL))) == 0
    assert remaining(pull.folder / "nowhere", Asset("model", "m", 5)) == 5


# -- digests and sizes


@pytest.mark.parametrize("fault", [Fault(), Fault(no_ranges=True)])
def test_a_wrong_digest_is_refused_by_name_and_nothing_stays(server, pull, fault):
    server.faults.append(fault)
    with pytest.raises(DigestMismatch) as caught:
        pull.get("/small", OTHER)
    assert sha(OTHER) in caught.value.message
    assert sha(SMALL) in caught.value.message
    assert not list(pull.folder.iterdir())


def test_bytes_are_visible_as_a_file_only_after_the_hash_was_right(server, pull, monkeypatch):
    """LocalAI renamed before it compared."""
    seen = []
    monkeypatch.setattr(
        transfer.Hasher, "hexdigest", lambda self: seen.append((pull.folder / "data").exists()) or "0"
    )
    with pytest.raises(DigestMismatch):
        pull.get("/small", SMALL)
    assert seen == [False]


@pytest.mark.parametrize("size", [len(SMALL) - 1, len(SMALL) + 1])
@pytest.mark.parametrize("fault", [Fault(), Fault(no_ranges=True)])
def test_a_file_of_another_size_than_promised_is_refused(server, pull, size, fault):
    server.faults.append(fault)
    with pytest.raises(SourceFailed, match="bytes"):
        pull.get("/small", SMALL, size)


def test_a_body_without_a_length_may_not_be_longer_than_promised(server, pull):
    server.faults.append(Fault(endless=True))
    with pytest.raises(SourceFailed, match="longer"):
        pull.get("/small", None, 5 * MB)
    server.faults[:] = [Fault(no_ranges=True, headers={"Content-Length": ""}, truncate=100)]
    with pytest.raises(SourceFailed, match="breaks off"):
        pull.get("/small", None, 5 * MB)


# -- redirects


def test_a_signed_address_is_used_while_it_holds_and_asked_for_anew_after(server, pull):
    with FileServer({"/signed": BIG}) as cdn:
        server.faults.append(Fault(path="/big", redirect=cdn.url("/signed?sig=1")))
        expired = iter(range(1_000_000))
        cdn.faults.append(Fault(status=403, times=2, when=lambda hit: next(expired) >= 2))
        check(pull.get("/big", BIG, headers={"Authorization": "Bearer s3cret"}), BIG)
        assert len(cdn.hits) > len(server.hits) >= 2
        assert all(hit.headers["authorization"] for hit in server.hits)
        assert not any("authorization" in hit.headers for hit in cdn.hits)


# -- disk, bandwidth, stop


@pytest.mark.parametrize("fault", [Fault(), Fault(no_ranges=True)])
def test_a_full_disk_ends_it_at_once_and_what_came_is_kept(server, pull, monkeypatch, fault):
    server.faults.append(fault)
    real = ranges.Writer.write

    written = []

    def full(self, offset, count):
        written.append(count)
        if sum(written) > 20 * MB:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, offset, count)

    monkeypatch.setattr(ranges.Writer, "write", full)
    with pytest.raises(NoSpace):
        pull.get("/big", BIG)
    monkeypatch.undo()
    server.hits.clear()
    check(pull.get("/big", BIG), BIG)
    assert fault.no_ranges or server.sent() < len(BIG) * 0.9


def test_a_size_that_nobody_knew_is_compared_with_the_free_space(server, pull, monkeypatch):
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(NoSpace, match="1000 are free"):
        pull.get("/small")
    check(pull.get("/small", SMALL, len(SMALL)), SMALL)


@pytest.mark.parametrize("fault", [Fault(), Fault(no_ranges=True)])
@pytest.mark.parametrize("path", ["/big", "/small"])
def test_a_stop_ends_all_threads_within_a_second(server, pull, path, fault):
    fault.stall = MB
    server.faults.append(fault)
    stopped_at = []

    def stop() -> None:
        stopped_at.append(time.monotonic())
        pull.watch.stopped.set()

    threading.Timer(0.3, stop).start()
    with pytest.raises(Cancelled):
        pull.get(path, server.read(path))
    assert time.monotonic() - stopped_at[0] < 1.0
    assert not [t for t in threading.enumerate() if t.name.startswith(("range-", "hash", "sync"))]


def test_the_bandwidth_limit_holds_over_all_streams(server, tmp_path):
    data = SMALL[:MB]
    server.files["/x"] = data
    began = time.monotonic()
    check(Pull(server, tmp_path, rate=2 * MB).get("/x", data), data)
    assert time.monotonic() - began >= 0.4


def test_eight_at_once_share_one_limit():
    throttle, stopped = Throttle(1_000_000), threading.Event()
    began = time.monotonic()

    def read() -> None:
        for _ in range(5):
            throttle.take(10_000, stopped)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.38 <= time.monotonic() - began < 3
    slow = threading.Thread(target=throttle.take, args=(10**9, stopped))
    slow.start()
    stopped.set()
    slow.join(1)
    assert not slow.is_alive()


def test_long_transfers_are_made_durable_on_the_way(server, pull, monkeypatch):
    from inhouse.net import follow

    counts = []
    monkeypatch.setattr(follow, "SYNC", MB)
    real = Journal.synced
    monkeypatch.setattr(Journal, "synced", lambda self, count: counts.append(count) or real(self, count))
    server.faults.append(Fault(pace=0.01))
    check(pull.get("/big", BIG), BIG)
    assert counts
    assert counts == sorted(counts)


def test_a_failure_of_a_follower_is_not_lost(tmp_path):
    from inhouse.net.follow import Hasher

    (tmp_path / "f").write_bytes(b"abc")
    hasher = Hasher(tmp_path / "f")
    hasher.ready(10)
    with pytest.raises(OSError, match="shorter"):
        hasher.ended(5)
    hasher.stop()


def test_a_journal_of_the_wrong_file_is_no_past(tmp_path):
    (tmp_path / "data.part").write_bytes(b"abc")
    Journal(tmp_path, Past(3, 3, '"v"', "", done=frozenset({0}))).close()
    assert remaining(tmp_path, Asset("model", "m", 3, "a" * 64)) == 3
    assert remaining(tmp_path, Asset("model", "m", 3)) == 0
