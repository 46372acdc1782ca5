"""What a person may do with a build."""

from __future__ import annotations

import pytest

from inhouse.core.errors import Conflict, NotFound, Unsupported
from inhouse.engines.variants.choice import Candidate
from inhouse.engines.variants.orders import AUTO, check_idle, check_ours, check_use

HERE = [
    Candidate("native", "server", "shelf"),
    Candidate("wheel", "wheel", "package"),
    Candidate("old", "server", "shelf", why="it was compiled for another CPU", fix="Build it again"),
]


def test_what_is_here_and_works_can_be_chosen() -> None:
    check_use("native", HERE, AUTO)
    check_use("native", HERE, "native")


def test_what_cannot_be_used_says_why_and_what_to_do() -> None:
    with pytest.raises(Unsupported, match="another CPU") as caught:
        check_use("old", HERE, AUTO)
    assert caught.value.hint == "Build it again"


def test_what_is_not_here_is_told_apart_from_what_there_is_not() -> None:
    with pytest.raises(NotFound, match="not installed"):
        check_use("native", [], AUTO)
    with pytest.raises(NotFound) as caught:
        check_use("nonsense", HERE, AUTO)
    assert "not installed" not in caught.value.message


def test_what_a_setting_forbids_is_not_chosen() -> None:
    with pytest.raises(Unsupported, match="INHOUSE_ENGINE=wheel"):
        check_use("native", HERE, "wheel")


@pytest.mark.parametrize("name", ["wheel", "path", "vllm"])
def test_what_was_not_installed_here_is_not_removed(name: str) -> None:
    with pytest.raises(Unsupported, match="not removed"):
        check_ours(name, ["vllm"])


def test_what_runs_models_is_left_alone() -> None:
    check_ours("native", ["vllm"])
    check_idle("native", [])
    with pytest.raises(Conflict, match="runs a, b now"):
        check_idle("native", ["b", "a", "b"])
