"""A model's file is replaced or cut short while a worker has it mapped: row 55."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.models import SMALL, borrowed_home
from support.running import Server, serving, until

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(sys.platform == "win32", reason="a mapped file cannot be cut there"),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server whose weights are a copy of its own, to be harmed."""
    home = borrowed_home(tmp_path / "home", SMALL)
    blob = weights(home)
    own = blob.with_suffix(".own")
    shutil.copyfile(blob, own)
    own.replace(blob)
    with serving(home, INHOUSE_ENGINE="wheel", INHOUSE_SLOTS="1", INHOUSE_CONTEXT_LENGTH="512") as running:
        yield running
    shutil.rmtree(home, ignore_errors=True)


def weights(home: Path) -> Path:
    manifest = next((home / "models" / "manifests").rglob(f"{SMALL}/latest.json")).read_text()
    blobs = [
        path for path in (home / "models" / "blobs").iterdir() if path.name.replace("-", ":") in manifest
    ]
    return max(blobs, key=lambda path: path.stat().st_size)


def ask(server: Server, **more: Any) -> Any:
    return server.chat("Say hello.", SMALL, max_tokens=16, temperature=0, **more)


def unload(server: Server) -> None:
    server.ask("POST", "/api/generate", {"model": SMALL, "keep_alive": 0})
    until(lambda: not server.loaded(), 10, "an empty house")


@pytest.mark.timeout(150)
def test_weights_cut_under_a_running_model_are_noticed_and_the_server_lives(server: Server) -> None:
    good = ask(server)
    assert good.status == 200
    blob = weights(server.home)
    saved = blob.with_name("saved")
    shutil.copyfile(blob, saved)
    out: list[Any] = []
    running = threading.Thread(target=lambda: out.append(ask(server, stream=True)))
    running.start()
    os.truncate(blob, 1_000_000)
    running.join(60)
    assert out, "the request ended, well or not"
    refused = ask(server)
    assert refused.status >= 500
    assert "cut short" in refused.json["error"]["message"]
    assert refused.json["error"]["code"] == "store_error"
    assert str(server.home) not in refused.body.decode()
    assert server.ask("GET", "/health").status == 200
    saved.replace(blob)
    # The worker may still have the cut file: then it dies of it, its request is told so, and the next loads.
    answers = [ask(server) for _ in range(2)]
    assert all(one.status == 200 or one.json["error"]["message"] for one in answers)
    assert (
        answers[1].json["choices"][0]["message"]["content"] == good.json["choices"][0]["message"]["content"]
    )


@pytest.mark.timeout(150)
def test_weights_replaced_under_a_running_model_are_noticed_at_the_next_load(server: Server) -> None:
    good = ask(server)
    blob = weights(server.home)
    saved, other = blob.with_name("saved"), blob.with_name("other")
    os.link(blob, saved)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    other.write_bytes(data)
    other.replace(blob)
    same = ask(server)
    assert same.json["choices"][0]["message"]["content"] == good.json["choices"][0]["message"]["content"]
    unload(server)
    refused = ask(server)
    assert refused.json["error"]["code"] == "digest_mismatch"
    saved.replace(blob)
    assert ask(server).status == 200
