"""Packages of an index: found by pip, fetched in ranges that resume, and left to pip where that fails."""

from __future__ import annotations

import hashlib
import random
import re
from contextlib import aclosing
from pathlib import Path

import pytest

from inhouse.core.errors import DigestMismatch, SourceFailed
from inhouse.net import Client
from inhouse.store.sources import pip
from inhouse.store.store import Store
from support import wheels
from support.fileserver import Fault, FileServer, Hit
from support.pulls import MODEL, drain, name

WHEEL = "/files/big_model-1.0-py3-none-any.whl"
TEXT = "pypi:big-model==1.0#big_model/w.gguf"


@pytest.fixture
def served(tmp_path, monkeypatch):
    """An index on loopback with one wheel of 12 MiB, which has its metadata beside it (PEP 658)."""
    padding = random.Random(1).randbytes(12 * 2**20)
    members = {"big_model/w.gguf": MODEL, "big_model/padding.bin": padding}
    wheel = wheels.wheel(tmp_path / "made", "big-model", members, compress=False)
    metadata = b"Metadata-Version: 2.1\nName: big-model\nVersion: 1.0\n"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    told = hashlib.sha256(metadata).hexdigest()
    link = f'<a href="{WHEEL}#sha256={digest}" data-dist-info-metadata="sha256={told}">{Path(WHEEL).name}</a>'
    for variable in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    with FileServer({WHEEL: wheel, f"{WHEEL}.metadata": metadata}) as server:
        page = f"<!doctype html><html><body>{link}</body></html>".encode()
        headers = {"Content-Type": "text/html"}
        server.faults.append(Fault(path="/simple/big-model/", status=200, body=page, headers=headers))
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_INDEX_URL", server.url("/simple/"))
        yield server


def by_pip(hit: Hit) -> bool:
    return hit.headers.get("user-agent", "").startswith("pip/")


def fetched(server: FileServer, *, pip: bool) -> int:
    """Bytes of the wheel that went to pip, or to our own client."""
    return sum(hit.sent for hit in server.hits if hit.path == WHEEL and by_pip(hit) is pip)


async def test_a_package_that_was_cut_off_goes_on_where_it_was(served, tmp_path):
    size = Path(served.files[WHEEL]).stat().st_size
    served.faults.append(Fault(path=WHEEL, when=by_pip, pace=0.1))  # a line like one outside
    served.faults.append(Fault(path=WHEEL, stall=size * 2 // 3, times=1))
    first = Store(tmp_path / "home")
    async with aclosing(first.pull(TEXT)) as events:
        async for event in events:
            if event.completed > size // 2:
                break
    await first.close()
    assert first.cards() == []
    second = Store(tmp_path / "home")
    await drain(second, TEXT)
    assert second.get(name("pypi/big-model:1.0")).size == len(MODEL)
    assert size <= fetched(served, pip=False) < size * 1.1
    assert fetched(served, pip=True) < size / 4
    await second.close()


async def test_pip_fetches_what_our_own_client_cannot(served, tmp_path, monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise SourceFailed("that needs a login", hint="")

    monkeypatch.setattr(Client, "download", refused)
    store = Store(tmp_path / "home")
    await drain(store, TEXT)
    assert store.get(name("pypi/big-model:1.0")).size == len(MODEL)
    await store.close()


async def test_a_wheel_without_a_digest_is_left_to_pip(served, tmp_path, monkeypatch):
    served.faults[0].body = re.sub(rb"#sha256=\w+", b"", served.faults[0].body)
    monkeypatch.setattr(Client, "download", lambda *_, **__: pytest.fail("fetched without a digest"))
    store = Store(tmp_path / "home")
    await drain(store, TEXT)
    assert store.get(name("pypi/big-model:1.0")).size == len(MODEL)
    await store.close()


async def test_other_bytes_than_the_index_says_are_refused(served, tmp_path):
    wrong = b"0" * 64
    body = served.faults[0].body
    at = body.index(b"#sha256=") + len(b"#sha256=")
    served.faults[0].body = body[:at] + wrong + body[at + 64 :]
    store = Store(tmp_path / "home")
    with pytest.raises(DigestMismatch):
        await drain(store, TEXT)
    assert store.cards() == []
    await store.close()


LOG = """
  Found link {url} (from https://index/simple/x/) (requires-python:>=3.9), version: 1.0
Collecting x==1.0
  Downloading {file} (92.9 MB)
"""


def test_pips_log_tells_what_it_is_fetching_and_from_where():
    url = "https://files/a/x-1.0-py3-none-any.whl"
    text = LOG.format(url=url + "#sha256=00", file="x-1.0-py3-none-any.whl")
    located = pip.Located(url, "https://index/simple/x/", "x-1.0-py3-none-any.whl")
    assert pip._begun(text) == located
    assert pip._begun(LOG.format(url=url, file=url)) == located
    assert pip._begun(text.partition("Collecting")[0]) is None


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("https://files/evil.zip", "evil.zip"),
        ("https://files/other-1.0-py3-none-any.whl", "x-1.0-py3-none-any.whl"),
        ("ftp://files/x-1.0-py3-none-any.whl", "x-1.0-py3-none-any.whl"),
        ("file:///files/x-1.0-py3-none-any.whl", "x-1.0-py3-none-any.whl"),
        ("https://files/.whl", ".whl"),
    ],
)
def test_what_pip_prints_is_checked_like_anything_else(url, file):
    assert pip._begun(LOG.format(url=url, file=file)) is None
