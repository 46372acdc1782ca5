"""Where programs lie on this machine is told to its own user, not to whoever may ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.running import Server, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("places")) as running:
        yield running


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for item in value.values():
            yield from keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from keys(item)


@pytest.mark.parametrize("route", ["/api/engines", "/api/machine"])
def test_paths_are_for_this_machines_own_user(server: Server, route: str) -> None:
    own = {"x-inhouse-local": json.loads((server.home / "server.json").read_text())["token"]}
    told, asked = (server.ask("GET", route, headers=h, timeout=60).json for h in (own, {}))
    assert "path" in set(keys(told))
    assert "path" not in set(keys(asked))
    assert set(asked) == set(told)
