"""Killed at any moment, and many at once: rows 44 and 61. Nothing is half there, one download is one."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from inhouse.core.errors import Cancelled, Conflict, InhouseError
from inhouse.store.layout import pull_lock
from inhouse.store.store import Store
from support import tiny_gguf
from support.fileserver import Fault, FileServer
from support.lifecycle import drained, leftovers, make, name, parts, sha256

BIG = tiny_gguf.llama(tensors=(*tiny_gguf.TENSORS, tiny_gguf.Tensor("big", (1024, 256)))).build()
KILLS = 100

ZYGOTE = """
import asyncio, os, random, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from inhouse.core.errors import InhouseError
from inhouse.store.store import Store
from support import tiny_gguf
from support.lifecycle import done, make, name, parts
home, url = Path(sys.argv[1]), sys.argv[3]
NAMES = ["a", "b", "c"]

def work(pick):
    store = Store(home)
    some = lambda: name(pick.choice(NAMES))
    acts = [
        lambda: done(store, store.pull(url, trusted=True, insecure=True)),
        lambda: make(store, pick.choice(NAMES), {"a.gguf": tiny_gguf.model(pick.randrange(6))}, aliases=("x",)),
        lambda: make(store, pick.choice(NAMES), parts()),
        lambda: store.copy(some(), some()),
        lambda: store.alias(name("y"), some()),
        lambda: store.remove(some()),
        lambda: store.remove(store.cards()[0].name),
        lambda: store.rollback(some()),
        lambda: store.prune(everything=pick.random() < 0.5),
        lambda: store.import_bundle(__import__("io").BytesIO(b"".join(store.export([some()]).chunks()))),
    ]
    os.write(1, b"go %d\\n" % os.getpid())
    while True:
        try:
            pick.choice(acts)()
        except (InhouseError, IndexError):
            pass

for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            work(random.Random(int(line)))
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(3)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill -9")
def test_kill_9_at_a_hundred_moments_leaves_a_store_that_verifies(tmp_path):
    seed = random.SystemRandom().randrange(2**32)
    pick = random.Random(seed)
    home = tmp_path / "home"
    known = {sha256(tiny_gguf.model(n)) for n in range(6)} | {sha256(d) for d in (BIG, *parts().values())}
    with FileServer({"/m/big.gguf": BIG}) as server:
        server.digests = True
        command = [
            sys.executable,
            "-c",
            ZYGOTE,
            str(home),
            str(Path(__file__).parent.parent),
            server.url("/m/big.gguf"),
        ]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as zygote:
            for kill in range(KILLS):
                print(pick.randrange(2**32), file=zygote.stdin, flush=True)
                go, child = zygote.stdout.readline().split()
                assert go == "go"
                child = int(child)
                threading.Event().wait(pick.random() ** 2 * 0.15)  # the random moment itself
                os.kill(child, signal.SIGKILL)
                assert int(zygote.stdout.readline()) == -signal.SIGKILL, f"seed {seed}, kill {kill}"
                begun = time.monotonic()
                store = Store(home)
                cards = store.cards()
                assert time.monotonic() - begun < 2, f"seed {seed}, kill {kill}"
                assert store.problems() == [], f"seed {seed}, kill {kill}"
                assert {file.digest for card in cards for file in card.files} <= known
                for card in cards:
                    store.check(card)
                    assert Path(card.weights).exists(), f"seed {seed}, kill {kill}"
                begun = time.monotonic()
                make(store, "after", {"a.gguf": tiny_gguf.model(0)})
                store.remove(name("after"))
                assert time.monotonic() - begun < 2, f"a lock is left: seed {seed}, kill {kill}"
            zygote.stdin.close()
    store = Store(home)
    for card in store.cards():
        if not card.alias_of:
            store.remove(card.name)
    store.prune(everything=True)
    assert list((home / "models/blobs").iterdir()) == []


# -- many at once -----------------------------------------------------------------------------


@pytest.fixture
def server():
    with FileServer({"/m/big.gguf": BIG, "/m/other.gguf": BIG}) as server:
        server.digests = True
        yield server


def slow(server: FileServer) -> Fault:
    """Bodies come slowly enough for others to arrive meanwhile."""
    fault = Fault(pace=0.05, when=lambda hit: hit.method == "GET")
    server.faults.append(fault)
    return fault


def pull(store: Store, server: FileServer, path: str = "/m/big.gguf"):
    return store.pull(server.url(path), trusted=True, insecure=True)


async def test_eight_pulls_of_one_model_are_one_download(tmp_path, server):
    slow(server)
    store = Store(tmp_path / "home")
    results = await asyncio.gather(*(drained(pull(store, server)) for _ in range(8)))
    assert all(events[-1].status == "success" for events in results)
    assert len(BIG) <= server.sent() < len(BIG) * 1.1
    await store.close()


async def test_pulls_of_two_stores_on_one_home_are_one_download(tmp_path, server):
    slow(server)
    stores = [Store(tmp_path / "home") for _ in range(3)]
    results = await asyncio.gather(*(drained(pull(store, server)) for store in stores))
    assert all(events[-1].status == "success" for events in results)
    assert server.sent() < len(BIG) * 1.1
    assert len({store.cards()[0].digest for store in stores}) == 1
    assert Store(tmp_path / "home").problems() == []
    for store in stores:
        await store.close()


PULL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from inhouse.store.store import Store
from support.lifecycle import done
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(done(store, store.pull(sys.argv[3], trusted=True, insecure=True))[-1].status)
"""


def test_two_processes_that_pull_the_same_blob_are_one_download(tmp_path, server):
    slow(server)
    home = tmp_path / "home"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", PULL, str(home), str(Path(__file__).parent.parent), server.url(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for path in ("/m/big.gguf", "/m/other.gguf")
    ]  # fmt: skip
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    assert [child.communicate(timeout=60)[0] for child in children] == ["success\n"] * 2
    assert server.sent() < len(BIG) * 1.1
    store = Store(home)
    assert len(store.cards()) == 2
    assert store.problems() == []


async def test_deleting_a_model_that_shares_the_blob_being_pulled_wins_cleanly(tmp_path, server):
    store = Store(tmp_path / "home")
    make_in_thread = asyncio.to_thread(make, Store(tmp_path / "home"), "mine", {"a.gguf": BIG})
    await make_in_thread
    for _ in range(5):
        events = asyncio.create_task(drained(pull(store, server)))
        with_name = [card.name for card in store.cards() if card.name.model == "mine"]
        for one in with_name:
            await asyncio.to_thread(store.remove, one)
        assert (await events)[-1].status == "success"
        assert await asyncio.to_thread(store.problems) == []
        (card,) = store.cards()
        store.copy(card.name, name("mine"))
        store.remove(card.name)
    await store.close()


async def test_a_prune_leaves_a_pull_in_flight_alone(tmp_path, server):
    slow(server)
    store = Store(tmp_path / "home")
    async with aclosing(pull(store, server)) as events:
        async for event in events:
            if event.completed:
                break
        freed = await asyncio.to_thread(lambda: store.prune(everything=True))
        assert freed.partial == 0
        assert [e async for e in events][-1].status == "success"
    assert server.sent() < len(BIG) * 1.1
    assert store.problems() == []
    await store.close()


async def test_prunes_all_the_while_never_cost_a_pull_its_model(tmp_path, server):
    store = Store(tmp_path / "home")
    stop = threading.Event()

    def prune() -> None:
        other = Store(tmp_path / "home")
        while not stop.is_set():
            other.prune(everything=True)

    pruner = threading.Thread(target=prune)
    pruner.start()
    try:
        for _ in range(5):
            try:
                assert (await drained(pull(store, server)))[-1].status == "success"
            except Conflict as error:  # pruned three times between its arrival and its name
                assert error.hint
            for card in store.cards():
                assert Path(card.weights).exists()
                store.remove(card.name)
    finally:
        stop.set()
        pruner.join()
    assert store.problems() == []
    await store.close()


# -- long work --------------------------------------------------------------------------------


def test_work_under_way_survives_prunes_and_other_stores(tmp_path):
    home = tmp_path / "home"
    store = Store(home)
    store.layout.prepare()
    with store.layout.workspace() as folder:
        (folder / "model.gguf").write_bytes(b"half")
        os.utime(folder, (0, 0))
        Store(home).prune(everything=True)
        Store(home)
        assert (folder / "model.gguf").read_bytes() == b"half"
    assert leftovers(home) == []
    assert not pull_lock(folder).exists()


def test_what_killed_work_left_is_pruned(tmp_path):
    store = Store(tmp_path / "home")
    store.layout.prepare()
    left = store.layout.partial / "0123.tmp"
    left.mkdir()
    (left / "model.gguf").write_bytes(bytes(1000))
    assert store.prune(dry_run=True).partial == 1000
    assert left.exists()
    assert store.prune().partial == 1000
    assert leftovers(tmp_path / "home") == []


async def test_a_cancelled_pull_goes_on_where_it_was(tmp_path, server):
    fault = slow(server)
    server.files["/m/big.gguf"] = data = tiny_gguf.llama(
        tensors=(*tiny_gguf.TENSORS, tiny_gguf.Tensor("big", (1024, 1000)))
    ).build()
    store = Store(tmp_path / "home")
    async with aclosing(pull(store, server)) as events:
        async for event in events:
            if event.completed > len(data) // 3:
                break
    await store.close()
    server.faults.remove(fault)
    with pytest.raises(InhouseError):
        store.get(name("mine"))
    again = Store(tmp_path / "home")
    events = await drained(pull(again, server))
    assert events[-1].status == "success"
    assert sha256(Path(again.cards()[0].weights).read_bytes()) == sha256(data)
    await again.close()


def test_a_stopped_create_leaves_nothing(tmp_path):
    store = Store(tmp_path / "home")

    class Endless:
        def read(self, size: int, /) -> bytes:
            raise Cancelled("gone")

    with pytest.raises(Cancelled):
        store.receive("sha256:" + "0" * 64, Endless())
    assert leftovers(tmp_path / "home") == []
    assert store.cards() == []
