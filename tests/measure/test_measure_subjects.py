"""What may be measured beside a model: copies of it, and servers on this machine."""

from __future__ import annotations

import pytest

from inhouse.core.errors import BadRequest
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.measure.subjects import copy_of, local

CARD = Card(ModelName.parse("m"), "0" * 64, "/models/blob", "1" * 64, 100, Footprint(100, 1))


def test_a_copy_is_another_model_for_the_fleet() -> None:
    one, other = (copy_of(CARD, key, CARD.tuning) for key in "ab")
    assert len({CARD.digest, one.digest, other.digest}) == 3
    assert one.weights == CARD.weights
    assert ModelName.parse(str(one.name)) == one.name


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://localhost:81/v1/", "localhost:81"),
        ("http://[::1]:9/", "[::1]:9"),
        ("http://127.0.0.1", "127.0.0.1:80"),
    ],
)
def test_servers_on_this_machine_may_be_measured(url: str, address: str) -> None:
    assert local(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1:1",
        "https://127.0.0.1:1",
        "http://127.0.0.1:1/x",
        "/",
        "http://a b/",
        "http://[::",
    ],
)
def test_no_others(url: str) -> None:
    with pytest.raises(BadRequest):
        local(url)
