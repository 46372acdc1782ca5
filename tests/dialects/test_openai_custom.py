"""The input of a custom tool, read out of JSON arguments as they come."""

from __future__ import annotations

import json

import pytest

from inhouse.dialects.openai.custom import InputText

TEXT = 'a "b" \\ \n é 😀 ' * 3
FORMS = [
    (json.dumps({"input": TEXT}), TEXT),
    (json.dumps({"input": TEXT}, ensure_ascii=False), TEXT),
    ('{"input": "a", "more": "' + "x" * 500 + '"}', "a"),
    ('{"more": "' + "x" * 500 + '", "input": "late"}', "late"),
    (" " * 300 + '{"input": "far"}', "far"),
    ('{"input": "cut o', "cut o"),
    ('{"input": "\\ud83d then no pair, and more', ""),
    ("just text " * 100, "just text " * 100),
    ("[" * 5000, "[" * 5000),
    ("", ""),
]


@pytest.mark.parametrize("arguments, text", FORMS)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_pieces_of_any_size_give_the_same_text(arguments, text, size):
    reader = InputText()
    given = [reader.add(arguments[at : at + size]) for at in range(0, len(arguments), size)]
    assert "".join(given) + reader.end() == text


@pytest.mark.parametrize("opening", ['{"input":"', '{"input":"a",', '{"other":"', '{"input":"\\ud83d'])
def test_long_arguments_cost_as_much_a_piece_as_short_ones(opening):
    reader = InputText()
    reader.add(opening)
    for _ in range(100_000):  # very long, if each piece looked at all that came before
        reader.add("some ")
    assert len(reader._held) < 300
