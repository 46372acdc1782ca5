"""Homes that cannot be used, and disks that fill up: row 46 and the server's part of row 59."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.pulls import MODEL, put
from support.running import Server, fake, serving
from support.shim import Shim, possible

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")

HUMBLE = """
import ctypes, os, sys
if os.geteuid() == 0:  # root that may not pass over modes and owners: the kernel reads this at exec
    for capability in (0, 1, 2, 3):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a program as a user for whom permissions count."""


def humble(*command: str) -> list[str]:
    return [sys.executable, "-c", HUMBLE, *command]


def start(home: Path, **env: str) -> tuple[int, str]:
    """Try to start a server that must refuse; its exit code and what it said."""
    base = {k: v for k, v in os.environ.items() if not k.startswith("INHOUSE_")}
    done = subprocess.run(
        humble(sys.executable, "-m", "inhouse", "serve"),
        env={
            **base,
            "INHOUSE_ENGINE": "fake",
            "INHOUSE_HOST": "127.0.0.1:0",
            "INHOUSE_HOME": str(home),
            **env,
        },
        capture_output=True,
        timeout=20,
        check=False,
    )
    return done.returncode, done.stderr.decode()


def loop(folder: Path) -> Path:
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    return folder / "a"


def sealed(folder: Path) -> Path:
    home = folder / "home"
    home.mkdir()
    home.chmod(0o500)
    return home


def below_sealed(folder: Path) -> Path:
    return sealed(folder) / "deeper"


def of_another(folder: Path) -> Path:
    home = folder / "home"
    home.mkdir(mode=0o700)
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(home, 12345, 12345)
    return home


def a_file(folder: Path) -> Path:
    (folder / "home").write_text("not a folder")
    return folder / "home"


@pytest.mark.parametrize("make", [loop, sealed, below_sealed, of_another, a_file], ids=lambda f: f.__name__)
def test_a_home_that_cannot_be_used_is_one_clear_line(tmp_path: Path, make: Any) -> None:
    code, said = start(make(tmp_path))
    assert code in (1, 2)
    lines = said.strip().splitlines()
    assert len(lines) == 2, said
    assert "home" in lines[0]
    assert "INHOUSE_HOME" in lines[1]


def test_a_home_that_is_missing_is_made(tmp_path: Path) -> None:
    with serving(tmp_path / "a" / "b" / "c", INHOUSE_ENGINE="fake") as server:
        assert server.chat(fake(tokens=1)).status == 200


@pytest.mark.parametrize("mode", [0o500, 0o000], ids=["read only", "sealed"])
def test_models_that_cannot_be_written_or_read_cost_only_what_needs_them(tmp_path: Path, mode: int) -> None:
    put(tmp_path, "tiny", MODEL)
    server = Server(tmp_path, {"INHOUSE_ENGINE": "fake"}, before=humble()).start()
    folders = [path for path in tmp_path.rglob("*") if path.is_dir() and path.name in ("blobs", "manifests")]
    folders += [path for folder in folders for path in folder.rglob("*") if path.is_dir()]
    assert len(folders) >= 2
    try:
        for folder in reversed(folders):
            folder.chmod(mode)
        copied = server.ask("POST", "/api/copy", {"source": "tiny", "destination": "other"})
        assert 400 <= copied.status < 600
        assert ("models folder" if mode else "cannot be read") in copied.json["error"]
        assert str(tmp_path) not in copied.body.decode()
        listed = server.ask("GET", "/api/tags")
        assert (listed.status == 200) == (mode == 0o500)
        assert (server.chat(fake(tokens=1)).status == 200) == (mode == 0o500)
        assert server.ask("GET", "/health").status == 200
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert "tiny:latest" in {one["name"] for one in server.ask("GET", "/api/tags").json["models"]}
    assert server.chat(fake(tokens=1)).status == 200
    assert server.stop() == 0


@pytest.mark.skipif(not possible(), reason="needs Linux and a C compiler")
def test_a_disk_that_is_full_at_the_start_is_one_clear_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shim = Shim(tmp_path / "shim")
    shim.full(True)
    code, said = start(home, **shim.env(home))
    assert code == 1
    lines = [line for line in said.strip().splitlines() if " WARNING " not in line]
    assert len(lines) == 2, said
    assert "home folder" in lines[0]
    assert "space" in lines[0]


@pytest.mark.skipif(not possible(), reason="needs Linux and a C compiler")
def test_a_disk_that_fills_up_stops_no_answers(tmp_path: Path) -> None:
    home = tmp_path / "home"
    shim = Shim(tmp_path / "shim")
    with serving(home, INHOUSE_ENGINE="fake", **shim.env(home)) as server:
        shim.full(True)
        assert server.chat(fake(tokens=1)).status == 200
        assert server.chat(fake(tokens=1), "fake-b").status == 200, "a worker's log costs nothing"
        kept = server.ask("POST", "/v1/responses", {"model": "fake", "input": fake(tokens=1)})
        assert kept.status == 507 or kept.json["status"] == "completed"
        copied = server.ask("POST", "/api/copy", {"source": "fake", "destination": "mine"})
        assert copied.status >= 400
        assert server.ask("GET", "/health").status == 200
        assert server.metric("inhouse_journal_dropped_total") >= 1
        shim.full(False)
        assert server.chat(fake(tokens=1)).status == 200
        assert server.stop() == 0
    assert "written down again" in server.log.read_text(), "its own log lay on the full disk, too"
