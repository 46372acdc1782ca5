"""Names of models: one grammar, parsed once, printed back, safe as a path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.errors import InvalidName
from inhouse.core.models import Card, Footprint, ModelName


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("smollm2", "smollm2:latest"),
        ("qwen2.5-coder:0.5b", "qwen2.5-coder:0.5b"),
        ("me/model:v1", "me/model:v1"),
        ("hf.co/org/model:Q4_K_M", "hf.co/org/model:Q4_K_M"),
        ("localhost:5000/ns/m:t", "localhost:5000/ns/m:t"),
        ("registry.example.com/a/b/c/m", "registry.example.com/a/b/c/m:latest"),
        ("inhouse/library/smollm2:135m", "smollm2:135m"),
    ],
)
def test_a_name_is_parsed_and_printed_in_its_short_form(text: str, shown: str) -> None:
    assert str(ModelName.parse(text)) == shown
    assert ModelName.parse(shown) == ModelName.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "../x", "a/../b", "a:b:c", "a@sha256:x", "x" * 300, "\N{GRINNING FACE}", "a\x00b", "a:",
    ],
)  # fmt: skip
def test_what_is_not_a_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidName) as caught:
        ModelName.parse(text)
    assert caught.value.message.isascii()
    assert len(caught.value.message) < 500


@given(st.text(max_size=60))
def test_a_parsed_name_round_trips_and_its_path_stays_inside(text: str) -> None:
    try:
        name = ModelName.parse(text)
    except InvalidName:
        return
    assert ModelName.parse(str(name)) == name
    for part in name.path_parts():
        assert part not in ("", ".", "..")
        assert not set(part) & set("/\\:\x00")
        assert part == part.lower()


def test_names_that_differ_only_in_case_have_one_path() -> None:
    one, other = ModelName.parse("SmolLM2:Latest"), ModelName.parse("smollm2:latest")
    assert one.key == other.key
    assert one.path_parts() == other.path_parts()


@pytest.mark.parametrize(
    ("count", "shown"),
    [(134_515_008, "134.52M"), (1_777_088_000, "1.8B"), (22_600, "22.6K"), (7, "7")],
)
def test_parameter_size_reads_as_ollama_prints_it(count: int, shown: str) -> None:
    card = Card(ModelName.parse("m"), "", "", "", 0, Footprint(0, 0), parameters=count)
    assert card.parameter_size == shown
