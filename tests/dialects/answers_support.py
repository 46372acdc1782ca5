"""Shared by the tests of dialects: scripted answers, and the reading of reference tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from inhouse.core.errors import BadRequest
from inhouse.core.events import (
    ChoiceEnd,
    Event,
    Finished,
    Notice,
    Progress,
    ReasoningDelta,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)
from inhouse.core.usage import Timings, Usage

DOCS = Path(__file__).parents[2] / "docs" / "reference"
USAGE = Usage(prompt_tokens=11, completion_tokens=7, cached_tokens=4, reasoning_tokens=2)
TIMINGS = Timings(queue=0.5, load=1.0, prefill=0.25, decode=0.125, total=2.0)
FINISHED = Finished(USAGE, TIMINGS, context=(1, 2, 3))


def token(text: str, logprob: float = -0.5) -> TokenLogprob:
    other = TopLogprob("ä", float("-inf"), "ä".encode())
    same = TopLogprob(text, logprob, text.encode())
    return TokenLogprob(text, logprob, text.encode(), (same, other))


def answer(*middle: Event, end: ChoiceEnd | None = None) -> list[Event]:
    return [Started(load=1.0), Progress(5, 10), *middle, end or ChoiceEnd("stop"), FINISHED]


RICH: list[Event] = answer(
    Notice("shortened", "The oldest 2 messages were dropped."),
    ReasoningDelta("Let me "),
    ReasoningDelta("think."),
    TextDelta("Grüße\u2028"),
    TextDelta("\u0085 “quoted”\n"),
    TextDelta("", 0),
    ToolCallDelta(0, '{"city": ', "call_engine", "weather"),
    ToolCallDelta(0, '"Köln"}'),
    ToolCallDelta(1, "{}", "call_other", "time"),
)


def run(encoder: Any, events: Iterable[Event]) -> bytes:
    return b"".join(encoder.feed(event) for event in events)


def body(*parts: dict[str, Any]) -> bytes:
    merged: dict[str, Any] = {}
    for part in parts:
        merged |= part
    return json.dumps(merged).encode()


@dataclass(frozen=True)
class Row:
    section: str
    field: str
    status: str
    example: dict[str, Any]


def rows(page: str) -> Iterator[Row]:
    section = ""
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line[3:]
        found = re.match(r"\| `([^`]+)` \| (supported|noted|refused) \| `(.+?)` \|", line)
        if found:
            yield Row(section, found[1], found[2], json.loads(found[3]))


def without(example: dict[str, Any], field: str) -> dict[str, Any]:
    first, _, rest = field.partition(".")
    if not rest:
        return {name: value for name, value in example.items() if name != first}
    return {**example, first: without(example[first], rest)}


def settings(encoder: Any) -> tuple[Any, ...]:
    names = ("streaming", "include_usage", "as_base64", "reason", "options", "metadata")
    return (type(encoder), *(getattr(encoder, name, None) for name in names))


def check_row(decode: Any, base: dict[str, Any], row: Row) -> None:
    """A field of a reference page is refused by its name, noted without effect, or has an effect."""
    sent = body(base, row.example)
    if row.status == "refused":
        with pytest.raises(BadRequest) as caught:
            decode(sent)
        assert caught.value.param == row.field
        return
    plain = decode(body(base, without(row.example, row.field)))
    decoded = decode(sent)
    same = decoded.request == plain.request and settings(decoded.encoder) == settings(plain.encoder)
    same = same and getattr(decoded, "told", None) == getattr(plain, "told", None)
    assert same == (row.status == "noted")
    assert (row.field in decoded.noted) == (row.status == "noted")


def json_leaves(words: list[str]) -> st.SearchStrategy[Any]:
    """JSON values without parts; ``words`` are texts that mean something to the dialect."""
    return (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8)
        | st.sampled_from(words)
    )


def json_values(leaves: st.SearchStrategy[Any], names: list[str]) -> st.SearchStrategy[Any]:
    """JSON values of some depth; objects have keys of ``names``."""
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(names), inner, max_size=4)
        ),
        max_leaves=12,
    )
