"""Archives by strangers: what is in them stays below the target, or nothing does."""

from __future__ import annotations

import io
import random
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from inhouse.core.errors import Cancelled, InhouseError, NoSpace, SourceFailed
from inhouse.engines.variants import unpack as module
from inhouse.engines.variants.unpack import Limits, unpack
from support.llama_builds import tarball, zipped


def still() -> None:
    return


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_files_come_out_of_a_tar_and_a_zip_file(tmp_path: Path) -> None:
    members = {"a/llama-server": b"run", "a/b/c.txt": b"text", "./d": b""}
    tarball(tmp_path / "x.tar.gz", members)
    zipped(tmp_path / "x.zip", {"a/llama-server": b"run", "a/b/c.txt": b"text", "d": b""})
    for name in ("x.tar.gz", "x.zip"):
        target = tmp_path / name.replace(".", "-")
        assert unpack(tmp_path / name, target, still) == 7
        assert files(target) == {"a/llama-server": b"run", "a/b/c.txt": b"text", "d": b""}
    assert (tmp_path / "x-tar-gz/a/llama-server").stat().st_mode & stat.S_IXUSR
    assert not (tmp_path / "x-tar-gz/a/b/c.txt").stat().st_mode & stat.S_IXUSR


def test_only_the_wanted_folder_comes_out(tmp_path: Path) -> None:
    tarball(
        tmp_path / "x.tar.gz", {"p/src/evil.py": b"1", "p/in/here/a": b"2", "p/inn/b": b"3", "p/in": b"4"}
    )
    unpack(tmp_path / "x.tar.gz", tmp_path / "out", still, within="p/in")
    assert files(tmp_path / "out") == {"here/a": b"2"}
    with pytest.raises(SourceFailed, match="nothing that is wanted"):
        unpack(tmp_path / "x.tar.gz", tmp_path / "none", still, within="q")


def test_links_to_files_of_the_same_folder_become_copies(tmp_path: Path) -> None:
    members = {"a/lib.so": "lib.so.1", "a/lib.so.1": "lib.so.1.2", "a/lib.so.1.2": b"library"}
    tarball(tmp_path / "x.tar.gz", members)
    unpack(tmp_path / "x.tar.gz", tmp_path / "out", still)
    assert files(tmp_path / "out") == dict.fromkeys(members, b"library")
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))


@pytest.mark.parametrize(
    "members",
    [
        {"../out": b"x"},
        {"a/../../out": b"x"},
        {"/etc/out": b"x"},
        {"C:/out": b"x"},
        {"..\\out": b"x"},
        {"a/link": "/etc/passwd"},
        {"a/link": "../../secret"},
        {"a/link": ".."},
        {"a/link": "sub/file", "a/sub/file": b"x"},
        {"a/one": "two", "a/two": "one"},
        {"a/link": "nowhere"},
        {"a/File": b"1", "a/file": b"2"},
        {"a": b"1", "a/b": b"2"},
        {},
    ],
)
def test_what_leads_elsewhere_or_means_two_things_is_refused(
    tmp_path: Path, members: dict[str, bytes | str]
) -> None:
    (tmp_path / "secret").write_text("s")
    tarball(tmp_path / "x.tar.gz", members)
    with pytest.raises(InhouseError):
        unpack(tmp_path / "x.tar.gz", tmp_path / "deep" / "target", still)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not left & {"out", "passwd"}
    assert not any(path.read_bytes() == b"s" for path in (tmp_path / "deep").rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        info = tarfile.TarInfo("a")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(SourceFailed, match="no file"):
        unpack(tmp_path / "x.tar", tmp_path / "out", still)


@pytest.mark.parametrize(("mode", "why"), [(stat.S_IFLNK, "out of its folder"), (stat.S_IFIFO, "no file")])
def test_a_zip_file_hides_no_links_or_pipes(tmp_path: Path, mode: int, why: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (mode | 0o777) << 16
        archive.writestr(info, "../../etc/passwd")
    with pytest.raises(SourceFailed, match=why):
        unpack(tmp_path / "x.zip", tmp_path / "out", still)


def test_too_much_is_refused_whatever_the_headers_say(tmp_path: Path) -> None:
    zipped(tmp_path / "bomb.zip", {"a": b"\0" * 3_000_000})
    assert (tmp_path / "bomb.zip").stat().st_size < 20_000
    with pytest.raises(SourceFailed, match="unpacks to more"):
        unpack(tmp_path / "bomb.zip", tmp_path / "out", still, limits=Limits(bytes=2_000_000))
    zipped(tmp_path / "many.zip", {str(i): b"" for i in range(11)})
    with pytest.raises(SourceFailed, match="more than 10 files"):
        unpack(tmp_path / "many.zip", tmp_path / "out2", still, limits=Limits(files=10))


def test_copies_of_links_count(tmp_path: Path) -> None:
    tarball(tmp_path / "x.tar.gz", {"big": b"1" * 1000} | {f"l{i}": "big" for i in range(10)})
    with pytest.raises(SourceFailed, match="unpacks to more"):
        unpack(tmp_path / "x.tar.gz", tmp_path / "out", still, limits=Limits(bytes=5000))


def test_a_damaged_archive_says_so(tmp_path: Path) -> None:
    tarball(tmp_path / "x.tar.gz", {"a": b"1" * 100_000})
    whole = (tmp_path / "x.tar.gz").read_bytes()
    for data in (b"", b"no archive", whole[: len(whole) // 2]):
        (tmp_path / "y.tar.gz").write_bytes(data)
        with pytest.raises(SourceFailed):
            unpack(tmp_path / "y.tar.gz", tmp_path / "out", still)


def test_a_member_under_a_password_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"x")
    data = bytearray(buffer.getvalue())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(SourceFailed, match="password"):
        unpack(tmp_path / "x.zip", tmp_path / "out", still)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tarball(tmp_path / "x.tar.gz", {"a": b"1"})
    usage = module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=10))
    with pytest.raises(NoSpace):
        unpack(tmp_path / "x.tar.gz", tmp_path / "out", still)


def test_whoever_waits_can_stop_it(tmp_path: Path) -> None:
    def stop() -> None:
        raise Cancelled("enough")

    tarball(tmp_path / "x.tar.gz", {"a": b"1"})
    with pytest.raises(Cancelled):
        unpack(tmp_path / "x.tar.gz", tmp_path / "out", stop)


@pytest.mark.parametrize("kind", ["gz", "xz", "bz2"])
def test_whatever_is_damaged_is_an_archive_of_no_use_and_nothing_worse(tmp_path: Path, kind: str) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=f"w:{kind}") as tar:  # type: ignore[call-overload]
        info = tarfile.TarInfo("a/f")
        info.size = 50_000
        tar.addfile(info, io.BytesIO(random.Random(0).randbytes(50_000)))
    whole, chance = data.getvalue(), random.Random(1)
    ends = set()
    for number in range(60):
        bad = bytearray(whole)
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        (tmp_path / "bad").write_bytes(bad)
        try:
            unpack(tmp_path / "bad", tmp_path / f"out{number}", still)
        except SourceFailed as error:
            ends.add(error.message)
    assert kind == "gz" or ends == {"The archive is damaged."}  # gzip's checksum lies behind what is read


def test_a_link_to_no_name_is_refused(tmp_path: Path) -> None:
    tarball(tmp_path / "x.tar.gz", {"a/lib.so": ""})
    with pytest.raises(SourceFailed, match="no file"):
        unpack(tmp_path / "x.tar.gz", tmp_path / "out", still)


def test_what_is_not_wanted_is_counted_and_can_be_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tarball(tmp_path / "x.tar.gz", {**{f"other/{i}": b"" for i in range(30)}, "p/a": b"1"})
    asked: list[int] = []

    def tick() -> None:
        asked.append(len(asked))

    unpack(tmp_path / "x.tar.gz", tmp_path / "out", tick, within="p")
    assert len(asked) > 30
    monkeypatch.setattr(module, "MOST_MEMBERS", 20)
    with pytest.raises(SourceFailed, match="more than 20 members"):
        unpack(tmp_path / "x.tar.gz", tmp_path / "no", still, within="p")
