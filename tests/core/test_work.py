"""How much work a request is: what fairness counts by."""

from __future__ import annotations

import pytest

from inhouse.core.messages import Image, Message, Sampling, Text, ToolCall, ToolResult
from inhouse.core.requests import (
    Chat,
    Complete,
    Detokenize,
    Embed,
    Load,
    Render,
    Request,
    Rerank,
    Tokenize,
)
from inhouse.core.work import ANSWER, DEAR, PICTURE, estimate


def chat(*parts: Text | Image | ToolCall | ToolResult, limit: int | None = 10, n: int = 1) -> Chat:
    return Chat(model="m", messages=(Message("user", parts),), sampling=Sampling(max_tokens=limit), n=n)


def test_a_longer_prompt_is_more_work() -> None:
    assert estimate(chat(Text("a" * 4000))) - estimate(chat(Text(""))) == 1000


def test_an_answer_weighs_more_than_a_prompt_and_counts_for_each_choice() -> None:
    assert estimate(chat(limit=110)) - estimate(chat(limit=10)) == 100 * DEAR
    assert estimate(chat(limit=100, n=3)) - estimate(chat(limit=100)) == 200 * DEAR


def test_an_answer_without_a_limit_counts_as_a_usual_one() -> None:
    assert estimate(chat(limit=None)) == estimate(chat(limit=ANSWER))


def test_pictures_and_tools_count() -> None:
    picture = Image(b"x", "image/png")
    assert estimate(chat(picture)) - estimate(chat()) == PICTURE
    assert estimate(chat(ToolResult("a" * 400, images=(picture,)))) - estimate(chat()) == PICTURE + 100
    assert estimate(chat(ToolCall("1", "f", "a" * 400))) - estimate(chat()) == 100


def test_a_rendered_prompt_counts_instead_of_its_messages() -> None:
    one = Chat(model="m", messages=(Message("user", (Text("a" * 4000),)),), prompt="b" * 8000)
    assert 2000 < estimate(one) - DEAR * ANSWER < 2100


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (Embed(model="m", inputs=("a",)), Embed(model="m", inputs=("a" * 400, (1, 2, 3)))),
        (Rerank(model="m", pairs=(("a", "b"),)), Rerank(model="m", pairs=(("a" * 400, "b"),) * 9)),
        (Complete(model="m", prompts=("a",)), Complete(model="m", prompts=("a",), best_of=4)),
        (Tokenize(model="m", text="a"), Tokenize(model="m", text="a" * 10_000)),
        (Detokenize(model="m", tokens=(1,)), Detokenize(model="m", tokens=(1,) * 10_000)),
        (Render(model="m", chat=chat()), Render(model="m", chat=chat(Text("a" * 4000)))),
    ],
)
def test_every_task_grows_with_what_is_asked(small: Request, large: Request) -> None:
    assert 1 <= estimate(small) < estimate(large)


def test_what_needs_no_engine_is_next_to_nothing() -> None:
    assert estimate(Load(model="m")) == 1
