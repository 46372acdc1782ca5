"""Names, cards and weights on disk."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inhouse.core.errors import BadRequest, Conflict, ModelNotFound, StoreError
from inhouse.store.layout import PARTIAL_LIFE, Layout, digest_hex
from inhouse.store.store import Store
from support import tiny_gguf
from support.pulls import name, put


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def test_an_absent_home_is_an_empty_store(home):
    store = Store(home)
    assert store.cards() == []
    assert store.problems() == []
    assert not home.exists()


def test_a_card_says_all_of_its_model(home):
    data = tiny_gguf.model(1)
    digest = put(home, "Tiny:1K", data, at=1234.0)
    card = Store(home).get(name("tiny:1k"))
    assert str(card.name) == "Tiny:1K"
    assert card.weights_digest == digest
    assert Path(card.weights).read_bytes() == data
    assert card.size == card.footprint.weights == len(data)
    assert card.footprint.kv_per_token == 128
    assert card.family == "llama"
    assert card.format == "gguf"
    assert card.capabilities == {"completion", "chat"}
    assert card.control_tokens == ("<|im_start|>", "<|im_end|>")
    assert card.context_length == 256
    assert card.template == tiny_gguf.CHATML
    assert card.modified_at == 1234.0
    assert len(card.digest) == 64


def test_listing_is_newest_first(home):
    for text, at in (("a", 10.0), ("b", 30.0), ("c", 20.0)):
        put(home, text, tiny_gguf.model(1), at=at)
    assert [str(c.name) for c in Store(home).cards()] == ["b:latest", "c:latest", "a:latest"]


def test_lookup_is_case_insensitive_and_case_variants_do_not_collide(home):
    put(home, "Tiny", tiny_gguf.model(1))
    put(home, "TINY", tiny_gguf.model(2))
    store = Store(home)
    assert [str(c.name) for c in store.cards()] == ["TINY:latest"]
    assert store.get(name("tINY")).name.model == "TINY"


def test_an_unknown_model_is_named_in_short_form(home):
    with pytest.raises(ModelNotFound, match="model 'nope' not found"):
        Store(home).get(name("nope"))
    with pytest.raises(ModelNotFound, match="model 'me/nope:1b' not found"):
        Store(home).remove(name("me/nope:1b"))


def test_a_replaced_manifest_is_seen(home):
    put(home, "tiny", tiny_gguf.model(1))
    store = Store(home)
    first = store.get(name("tiny"))
    second = put(home, "tiny", tiny_gguf.model(2))
    assert store.get(name("tiny")).weights_digest == second != first.weights_digest


def test_removing_deletes_weights_that_nobody_else_needs(home):
    shared, own = tiny_gguf.model(1), tiny_gguf.model(2)
    put(home, "a", shared)
    put(home, "b", shared)
    put(home, "c", own)
    store = Store(home)
    paths = {str(c.name): Path(c.weights) for c in store.cards()}
    store.remove(name("c"))
    assert not paths["c:latest"].exists()
    store.remove(name("A"))
    assert paths["b:latest"].exists()
    store.remove(name("b"))
    assert not paths["b:latest"].exists()
    assert list((home / "models/manifests").iterdir()) == []


def test_weights_stay_while_a_manifest_is_unreadable(home):
    put(home, "a", tiny_gguf.model(1))
    put(home, "b", tiny_gguf.model(2))
    store = Store(home)
    weights = Path(store.get(name("b")).weights)
    Layout(home).manifest(name("b")).write_text("{")
    store.remove(name("a"))
    assert weights.exists()


def test_a_copy_shares_weights_and_digest(home):
    put(home, "tiny", tiny_gguf.model(1))
    store = Store(home)
    store.copy(name("tiny"), name("me/Mine:v1"))
    source, copy = store.get(name("tiny")), store.get(name("me/mine:V1"))
    assert str(copy.name) == "me/Mine:v1"
    assert (copy.digest, copy.weights) == (source.digest, source.weights)
    store.remove(name("tiny"))
    assert store.get(name("me/mine:v1")).name.tag == "v1"
    with pytest.raises(ModelNotFound):
        store.copy(name("tiny"), name("other"))


def test_copying_onto_itself_changes_nothing(home):
    put(home, "tiny", tiny_gguf.model(1))
    store = Store(home)
    before = store.get(name("tiny"))
    store.copy(name("tiny"), name("TINY"))
    assert store.get(name("tiny")) == before


def test_copying_over_a_model_keeps_its_weights_until_a_prune(home):
    put(home, "a", tiny_gguf.model(1))
    put(home, "b", tiny_gguf.model(2))
    store = Store(home)
    old = Path(store.get(name("b")).weights)
    store.copy(name("a"), name("b"))
    assert old.exists()
    store.prune()
    assert not old.exists()


# -- damage -----------------------------------------------------------------------------------


def test_a_model_without_its_weights_is_not_listed_and_says_so(home):
    put(home, "tiny", tiny_gguf.model(1))
    store = Store(home)
    Path(store.get(name("tiny")).weights).unlink()
    assert store.cards() == []
    with pytest.raises(StoreError, match="missing or cut short"):
        store.get(name("tiny"))
    assert [p.what for p in store.problems()] == ["the weights are missing or cut short"]


def test_every_flipped_bit_is_found_by_verify(home):
    digest = put(home, "tiny", tiny_gguf.model(1))
    store = Store(home)
    assert store.problems() == []
    weights = Path(store.get(name("tiny")).weights)
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.chmod(0o600)
    weights.write_bytes(data)
    (problem,) = store.problems()
    assert problem.model == "tiny:latest"
    assert digest in problem.what
    assert problem.fix == "inhouse verify --repair"


def mangled(data: dict[str, object]) -> list[bytes]:
    parts = [{"role": "model", "digest": "sha256:../../../etc/passwd", "size": 1, "file": "x"}]
    return [
        b"",
        b"null",
        b"{" * 100_000,
        b'{"name": "tiny", "manifest": {}}',
        json.dumps(data | {"manifest": data["manifest"] | {"parts": parts}}).encode(),
        json.dumps(data | {"manifest": data["manifest"] | {"schema": 3}}).encode(),
        json.dumps(data | {"name": "../x"}).encode(),
        json.dumps(data | {"name": "other"}).encode(),
        b"\xff" * 10,
    ]


def test_a_mangled_manifest_harms_nobody_else(home):
    put(home, "good", tiny_gguf.model(2))
    put(home, "tiny", tiny_gguf.model(1))
    path = Layout(home).manifest(name("tiny"))
    for data in mangled(json.loads(path.read_text())):
        path.write_bytes(data)
        store = Store(home)
        assert [str(c.name) for c in store.cards()] == ["good:latest"]
        with pytest.raises(StoreError):
            store.get(name("tiny"))
        assert [p.model for p in store.problems()] == ["inhouse/library/tiny/latest"]


@pytest.mark.parametrize("kind", ["file", "loop"])
def test_a_models_folder_that_is_none_is_one_clear_error(home, kind):
    home.mkdir()
    models = home / "models"
    if kind == "file":
        models.write_text("x")
    else:
        models.symlink_to(models)
    store = Store(home)
    for act in (store.cards, store.problems, lambda: store.remove(name("x"))):
        with pytest.raises(StoreError) as caught:
            act()
        assert str(home) not in caught.value.message
        assert caught.value.hint


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs folders that refuse writing")
def test_a_read_only_store_can_still_be_read(home):
    put(home, "tiny", tiny_gguf.model(1))
    (home / "models").chmod(0o500)
    try:
        store = Store(home)
        assert store.get(name("tiny"))
        with pytest.raises(StoreError):
            store.remove(name("tiny"))
    finally:
        (home / "models").chmod(0o700)


def test_an_unwritable_folder_is_told_apart(home, monkeypatch):
    put(home, "tiny", tiny_gguf.model(1))
    monkeypatch.setattr("inhouse.store.layout.os.access", lambda *_: False)
    with pytest.raises(StoreError, match="read-only"):
        Store(home).remove(name("tiny"))
    assert Store(home).get(name("tiny"))


# -- paths ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256-" + "a" * 64,
        "sha256:../../" + "a" * 58,
        "sha256:" + "a" * 64 + "\n",
        "sha256:" + "٠" * 64,
        "md5:" + "a" * 64,
        "",
        "a" * 64,
    ],
)
def test_only_one_spelling_is_a_digest(digest):
    with pytest.raises(BadRequest):
        digest_hex(digest)


@pytest.mark.parametrize("text", ["con", "nul:latest", "aux/com1:lpt9", "a.:b.", "nul.txt:con.x"])
def test_names_that_windows_reserves_get_safe_paths(text):
    layout = Layout(Path("/h"))
    for part in layout.manifest(name(text)).relative_to(layout.manifests).with_suffix("").parts:
        assert part.split(".")[0] not in {"con", "nul", "aux", "com1", "lpt9"}
        assert not part.endswith(".")


def test_different_names_never_share_a_path():
    layout = Layout(Path("/h"))
    texts = [
        "a",
        "a:b",
        "a/a",
        "b/a/a",
        "con",
        "con+".strip("+") + "x",
        "a.b:c",
        "a:b.c",
        "h:80/a/a",
        "h/a/a",
    ]
    assert len({layout.manifest(name(t)) for t in texts}) == len(texts)


# -- crashes ----------------------------------------------------------------------------------


def test_what_killed_processes_left_is_swept_at_start(home):
    put(home, "tiny", tiny_gguf.model(1))
    partial = home / "models/partial"
    fresh, stale, dead = partial / "new.tmp", partial / "old.tmp", partial / "dead"
    fresh.touch()
    stale.touch()
    os.utime(stale, (0, 0))
    (dead / "pip.tmp").mkdir(parents=True)
    (dead / "weights.tmp").touch()
    (dead / "wheels").mkdir()
    ancient = partial / "ancient"
    ancient.mkdir()
    old = ancient.stat().st_mtime - PARTIAL_LIFE - 1
    os.utime(ancient, (old, old))
    Store(home)
    assert fresh.exists()
    assert not stale.exists()
    assert [p.name for p in dead.iterdir()] == ["wheels"]
    assert not ancient.exists()


KILLED_WRITER = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2].split(":")
from support import tiny_gguf
from support.pulls import name, put
from inhouse.store.store import Store
home = Path(sys.argv[1])
print("go", flush=True)
n = 0
while True:
    n += 1
    put(home, f"m{n % 3}", tiny_gguf.model(n % 5))
    Store(home).copy(name(f"m{n % 3}"), name("copy"))
    if n % 4 == 0:
        Store(home).remove(name("copy"))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9")
def test_kill_9_at_any_time_leaves_a_store_that_verifies(home):
    here = Path(__file__).parent
    paths = str(here.parent)
    for delay in (0.0, 0.02, 0.05, 0.1):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED_WRITER, str(home), paths], stdout=subprocess.PIPE
        )
        child.stdout.readline()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(delay)
        child.kill()
        child.communicate()
        store = Store(home)
        assert store.problems() == []
        store.copy(store.cards()[0].name, name("after")) if store.cards() else None
        assert all(Path(c.weights).exists() for c in store.cards())


def test_a_lock_that_another_process_holds_is_a_conflict(home):
    layout = Layout(home)
    layout.prepare()
    path = layout.models / ".lock"
    with layout.hold(path, 0), pytest.raises(Conflict, match="Another Inhouse process"):
        with layout.hold(path, 0.05):
            pass
    with layout.hold(path, 0):
        pass
