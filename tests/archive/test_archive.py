"""The archive: what clients asked us to keep."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.archive import Archive, Kept, Page
from inhouse.archive.kept import pack
from inhouse.archive.shelf import Shelf, translated
from inhouse.core.errors import BadRequest, BodyTooLarge, NoSpace, NotFound, StoreError

NOW = time.time()


def kept(id: str, *, tenant: str = "t", parent: str = "", created: float = NOW, **body) -> Kept:
    return Kept("thing", id, tenant, created, body, parent)


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    made = Archive(tmp_path / "kept", days=30, most=2**20)
    yield made
    await made.close()


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def ids(archive: Archive, tenant: str = "t", **asked) -> tuple[list[str], bool]:
    found, more = await archive.page("thing", tenant, Page(**asked))
    return [one.id for one in found], more


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_nothing_is_made_on_disk_before_the_first_use(tmp_path):
    archive = Archive(tmp_path / "kept", days=1, most=100)
    await archive.close()
    assert not (tmp_path / "kept").exists()


async def test_an_object_comes_back_as_it_was(archive):
    one = Kept("thing", "a", "t", NOW, {"x": [1, None, "Grüße \ud800 \u2028"]}, "p", NOW + 5000)
    await archive.put(kept("b"))
    assert (await archive.get("thing", "b", "t")).expires == NOW + 30 * 86_400
    await archive.put(one)
    assert await archive.get("thing", "a", "t") == one
    assert await archive.get("other", "a", "t") is None


async def test_nobody_sees_or_touches_what_is_anothers(archive):
    await archive.put(kept("a", who="t"))
    await archive.put(kept("a", tenant="u", who="u"))
    assert (await archive.get("thing", "a", "t")).body == {"who": "t"}
    assert not await archive.delete("thing", "a", "v")
    assert await ids(archive, "v") == ([], False)
    assert await archive.delete("thing", "a", "u")
    assert await ids(archive) == (["a"], False)


async def test_what_is_replaced_keeps_its_place(archive):
    await archive.put(kept("a"), kept("b"), kept("c"))
    await archive.put(kept("a", new=True))
    assert await ids(archive, ascending=True) == (["a", "b", "c"], False)
    assert (await archive.get("thing", "a", "t")).body == {"new": True}


async def test_only_what_is_there_is_replaced(archive):
    assert not await archive.replace(kept("a", n=1))
    assert await archive.get("thing", "a", "t") is None
    await archive.put(kept("a"))
    assert not await archive.replace(kept("a", tenant="u"))
    assert await archive.replace(kept("a", n=2))
    assert (await archive.get("thing", "a", "t")).body == {"n": 2}


async def test_several_objects_are_kept_all_or_none(archive):
    with pytest.raises(TypeError):
        await archive.put(kept("a"), kept("b", bad=object()))
    with pytest.raises(StoreError):
        await archive.put(kept("a"), Kept("thing", None, "t", NOW, {}))  # type: ignore[arg-type]
    assert await ids(archive) == ([], False)


@pytest.mark.parametrize(
    "asked, want",
    [
        ({}, (["e", "d", "c", "b", "a"], False)),
        ({"limit": 2}, (["e", "d"], True)),
        ({"limit": 2, "after": "d"}, (["c", "b"], True)),
        ({"limit": 2, "after": "c"}, (["b", "a"], False)),
        ({"limit": 2, "before": "b"}, (["d", "c"], True)),
        ({"ascending": True, "after": "c"}, (["d", "e"], False)),
        ({"ascending": True, "limit": 2, "before": "d"}, (["b", "c"], True)),
        ({"after": "e", "before": "b"}, (["d", "c"], False)),
        ({"parent": "p"}, (["b"], False)),
    ],
)
async def test_pages(archive, asked, want):
    await archive.put(*(kept(one, parent="p" if one == "b" else "") for one in "abcde"))
    assert await ids(archive, **asked) == want


@pytest.mark.parametrize("name", ["after", "before"])
async def test_a_cursor_that_is_not_there_is_named(archive, name):
    await archive.put(kept("a", tenant="u"))
    with pytest.raises(BadRequest) as caught:
        await ids(archive, **{name: "a"})
    assert caught.value.param == name


async def test_pages_of_what_matches(archive):
    await archive.put(
        kept("a", model="m", metadata={"topic": "x", 'a"b\u00e9': "1"}),
        kept("b", model="n", metadata={"topic": "x"}),
        kept("c", model="m"),
    )
    assert (await ids(archive, match={"model": "m"}))[0] == ["c", "a"]
    assert (await ids(archive, match={"metadata": {"topic": "x"}}))[0] == ["b", "a"]
    assert (await ids(archive, match={"metadata": {"topic": "x", 'a"b\u00e9': "1"}}))[0] == ["a"]
    assert (await ids(archive, match={"model": "m", "metadata": {"topic": "y"}}))[0] == []


async def test_deleting_takes_the_children_along_when_asked(archive):
    await archive.put(kept("a"), kept("b", parent="a"), kept("c", parent="a", tenant="u"))
    assert await archive.delete("thing", "a", "t", children=True)
    assert await ids(archive) == ([], False)
    assert await ids(archive, "u") == (["c"], False)
    assert not await archive.delete("thing", "a", "t", children=True)


async def test_what_is_over_is_gone_at_once(tmp_path):
    archive = Archive(tmp_path, days=2, most=2**20)
    await archive.put(
        kept("old", created=NOW - 3 * 86_400),
        kept("new"),
        Kept("thing", "short", "t", NOW, {}, expires=NOW - 1),
        Kept("thing", "long", "t", NOW - 9 * 86_400, {}, expires=NOW + 1e6),
    )
    assert await ids(archive, ascending=True) == (["new", "long"], False)
    assert await archive.get("thing", "old", "t") is None
    await archive.close()
    again = Shelf(tmp_path, days=2, most=2**20)
    assert again._db.execute("SELECT count(*) FROM kept").fetchone() == (2,)
    again.close()


def test_what_is_over_goes_now_and_then(tmp_path, monkeypatch):
    shelf = Shelf(tmp_path, days=0, most=2**20)
    shelf.put([Kept("thing", "a", "t", NOW, {}, expires=NOW - 1)])
    clock = time.time() + 4000
    monkeypatch.setattr(time, "time", lambda: clock)
    shelf.put([kept("b", created=1)])
    assert shelf._db.execute("SELECT id FROM kept").fetchall() == [("b",)]
    shelf.close()


async def test_too_much_pushes_out_what_came_first(tmp_path):
    archive = Archive(tmp_path, days=0, most=10_000)
    for i in range(40):
        await archive.put(kept(str(i), text="x" * 500))
    found, _ = await ids(archive, ascending=True, limit=100)
    assert found == [str(i) for i in range(40)][-len(found) :]
    assert 8 < len(found) < 14
    await archive.write_file(lambda size: kept("file"), pieces(b"x" * 9_000), 9_500)
    assert await ids(archive) == (["file"], False)
    await archive.put(kept("last", text="x" * 3000))
    assert await ids(archive) == (["last"], False)
    assert names(tmp_path / "contents") == []
    await archive.close()


async def test_the_count_of_bytes_stays_true(tmp_path):
    archive = Archive(tmp_path, days=0, most=2**20)
    await archive.put(kept("a", text="x"), kept("b", text="x"), kept("a", text="xy"))
    await archive.write_file(lambda size: kept("f"), pieces(b"x" * 900), 1000)
    await archive.put(kept("f", n=1))
    await archive.delete("thing", "b", "t")
    counted = archive._shelf._total
    await archive.close()
    shelf = Shelf(tmp_path, days=0, most=2**20)
    assert counted == shelf._total > 900
    shelf.close()


async def test_what_can_never_fit_is_refused(tmp_path):
    archive = Archive(tmp_path, days=0, most=2000)
    await archive.put(kept("a"))
    with pytest.raises(NoSpace):
        await archive.put(kept("b", text="x" * 3000))
    with pytest.raises(NoSpace):
        await archive.write_file(lambda size: kept("f"), pieces(b"x" * 3000), 2**20)
    assert await ids(archive) == (["a"], False)
    assert names(tmp_path / "contents") == []
    await archive.close()


async def test_a_file_comes_back_in_pieces(archive):
    made = await archive.write_file(lambda size: kept("f", bytes=size), pieces(b"abc", b"", b"defg"), 7)
    assert made.body == {"bytes": 7}
    assert await archive.get("thing", "f", "t") == made
    await archive.put(kept("f", bytes=7, name="n"))
    assert [piece async for piece in archive.read_file(made, 3)] == [b"abc", b"def", b"g"]


async def test_no_content_is_found_for_others_or_when_it_is_gone(archive, tmp_path):
    made = await archive.write_file(lambda size: kept("f"), pieces(b"abc"), 7)
    await archive.put(kept("bare"))
    for other in (kept("f", tenant="u"), kept("bare"), kept("nope")):
        with pytest.raises(NotFound):
            await anext(archive.read_file(other))
    await archive.delete("thing", "f", "t")
    assert names(tmp_path / "kept" / "contents") == []
    with pytest.raises(NotFound):
        await anext(archive.read_file(made))


async def test_a_file_that_is_too_large_or_breaks_off_leaves_nothing(archive, tmp_path):
    with pytest.raises(BodyTooLarge):
        await archive.write_file(lambda size: kept("f"), pieces(b"abcd", b"efgh"), 7)

    async def broken() -> AsyncIterator[bytes]:
        yield b"abc"
        raise ConnectionError("the client left")

    with pytest.raises(ConnectionError):
        await archive.write_file(lambda size: kept("f"), broken(), 7)
    assert await archive.get("thing", "f", "t") is None
    assert names(tmp_path / "kept" / "contents") == []


async def test_contents_that_no_row_names_are_removed_on_opening(tmp_path):
    archive = Archive(tmp_path, days=0, most=2**20)
    made = await archive.write_file(lambda size: kept("f"), pieces(b"abc"), 7)
    await archive.close()
    (tmp_path / "contents" / "stray").write_bytes(b"x")
    again = Archive(tmp_path, days=0, most=2**20)
    assert [piece async for piece in again.read_file(made)] == [b"abc"]
    assert len(names(tmp_path / "contents")) == 1
    await again.close()


@pytest.mark.skipif(sys.platform == "win32", reason="modes are of POSIX")
async def test_files_are_for_this_user_alone(archive, tmp_path):
    old = os.umask(0)
    try:
        await archive.write_file(lambda size: kept("f"), pieces(b"abc"), 7)
    finally:
        os.umask(old)
    for path in (tmp_path / "kept").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


async def test_a_killed_writer_leaves_a_readable_archive(tmp_path):
    script = textwrap.dedent(
        """
        import asyncio, sys, time
        from pathlib import Path
        from inhouse.archive import Archive, Kept

        async def main():
            archive = Archive(Path(sys.argv[1]), days=0, most=2**30)
            for i in range(10**6):
                await archive.put(Kept("thing", str(i), "t", time.time(), {"text": "x" * 2000}))
                if i == 50:
                    print("ready", flush=True)

        asyncio.run(main())
        """
    )
    for round in range(3):
        folder = tmp_path / str(round)
        process = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout:
            assert process.stdout.readline() == b"ready\n"
            process.kill()
            process.wait(10)
        archive = Archive(folder, days=0, most=2**30)
        found, _ = await ids(archive, ascending=True, limit=10**6)
        assert found == [str(i) for i in range(len(found))]
        assert len(found) > 50
        await archive.close()


async def test_many_at_once_lose_nothing(archive):
    await asyncio.gather(*(archive.put(kept(str(i))) for i in range(50)))
    assert len((await ids(archive, limit=100))[0]) == 50


async def test_a_damaged_archive_is_an_error_of_ours(tmp_path):
    (tmp_path / "kept.sqlite").write_bytes(b"this is no database" * 100)
    archive = Archive(tmp_path, days=0, most=2**20)
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            await archive.get("thing", "a", "t")
        assert str(tmp_path) not in caught.value.message
    await archive.close()


async def test_a_newer_archive_is_left_alone(tmp_path):
    Shelf(tmp_path, days=0, most=2**20).close()
    with sqlite3.connect(tmp_path / "kept.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="newer"):
        Shelf(tmp_path, days=0, most=2**20)


def test_a_full_disk_is_told_apart():
    full = sqlite3.OperationalError("full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL  # type: ignore[misc]
    assert isinstance(translated(full), NoSpace)
    assert isinstance(translated(OSError(28, "No space left on device")), NoSpace)
    other = translated(OSError(13, "Permission denied", "/home/ann/x"))
    assert type(other) is StoreError
    assert "/" not in other.message + other.hint


async def test_a_disk_error_while_writing_a_file_is_ours(archive, monkeypatch):
    await archive.get("thing", "a", "t")
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(NoSpace):
        await archive.write_file(lambda size: kept("f"), pieces(b"abc"), 7)


@given(
    st.dictionaries(st.text(), st.recursive(st.none() | st.text() | st.integers() | st.booleans(), st.lists))
)
def test_any_body_fits_into_utf8(body):
    assert pack(body).encode()
