"""A scripted server, and the command line run inside this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.scripted import CARD, Api, Input, Invoke, Result, says, serving
from inhouse.cli.main import main


@pytest.fixture
def routes() -> dict[str, Any]:
    """A server with one loaded model that says hello."""
    return {
        "/health": {"status": "ok", "version": "0.1.0"},
        "/api/version": {"version": "0.33.0", "inhouse": "0.1.0"},
        "/api/tags": {"models": [CARD]},
        "/api/ps": {"models": []},
        "/api/show": {"capabilities": ["completion", "chat"], "model_info": {}, "details": CARD["details"]},
        "/api/chat": says("Hel", "lo."),
    }


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and an environment without settings."""
    for name in list(os.environ):
        if name.startswith("INHOUSE_") or name in ("NO_COLOR", "COLUMNS"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("INHOUSE_HOME", str(home))
    return home


@pytest.fixture
def api(home: Path, routes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The scripted server; INHOUSE_HOST points at it."""
    with serving(Api(routes)) as api:
        monkeypatch.setenv("INHOUSE_HOST", api.address)
        yield api


@pytest.fixture
def invoke(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run ``inhouse ARGS`` here; ``stdin`` is what is piped in, None for a terminal."""

    def run(*args: str, stdin: bytes | None = None) -> Result:
        monkeypatch.setattr(sys, "stdin", Input(stdin))
        code = main(args)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return run
