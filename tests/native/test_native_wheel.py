"""The kernels inside the wheel's llama.cpp: what it answers with them and without, in processes of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import native_build
from support.kernel_answers import Ask, answers, continuation
from support.lora import lora
from support.models import model_home

pytest.importorskip("xllamacpp")
pytestmark = [
    pytest.mark.skipif(bool(native_build.missing()), reason=native_build.missing() or "-"),
    pytest.mark.model,
    pytest.mark.timeout(600),  # the first run compiles
]

PROMPTS = (
    "The capital of France is",
    "def fibonacci(n):\n",
    "Once upon a time there was a small",
    "Water boils at",
    "1, 2, 3, 4, 5,",
    "To bake bread, first you",
    "The three laws of thermodynamics say that",
    "SELECT name FROM users WHERE",
)
SOME = PROMPTS[:3]
TOKENS = 16
PLAIN, UNMAPPED, ADAPTED, EMBEDDING, OTHERWISE = range(5)
"""The servers of a process: OTHERWISE computes attention in another order, which is as right."""


@dataclass(frozen=True)
class Run:
    report: dict[str, Any]
    said: dict[int, list[list[int]]]
    first: list[float]
    vector: list[float]


def model() -> Path:
    blobs = model_home("smollm2") / "models" / "blobs"
    return min(blobs.glob("sha256-*"), key=lambda path: path.stat().st_size)


def ask(folder: Path, library: Path | None) -> Run:
    """The same questions to five models in one process."""
    adapter = folder / "adapter.gguf"
    lora(adapter, width=576, layers=range(30))
    one: dict[str, Any] = {"model": str(model())}
    servers = [
        one,
        one | {"mmap": False, "threads": 1},
        one | {"adapters": [[str(adapter), 1.0]]},
        one | {"pooling": "mean"},
        one | {"flash_attention": False},
    ]
    wanted = {PLAIN: PROMPTS, UNMAPPED: SOME, ADAPTED: SOME, OTHERWISE: PROMPTS}
    asks = [continuation(p, tokens=TOKENS, server=s) for s, prompts in wanted.items() for p in prompts]
    report, told = answers(
        servers, [*asks, Ask("/v1/embeddings", {"input": PROMPTS[0]}, EMBEDDING)], library=library
    )
    said: dict[int, list[list[int]]] = {server: [] for server in wanted}
    for question, answer in zip(asks, told, strict=False):
        said[question.server].append(answer["tokens"])
    first = [answer["completion_probabilities"][0]["logprob"] for answer in told[: len(PROMPTS)]]
    return Run(report, said, first, told[-1]["data"][0]["embedding"])


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return ask(tmp_path_factory.mktemp("stock"), None)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return ask(tmp_path_factory.mktemp("ours"), native_build.library())


@pytest.fixture(scope="module")
def older() -> tuple[dict[str, Any], list[list[int]]]:
    """What the kernels of a processor without VNNI say."""
    asks = [continuation(prompt, tokens=TOKENS) for prompt in PROMPTS]
    report, told = answers(
        [{"model": str(model())}], asks, library=native_build.library(), env={"INHOUSE_KERNELS_ISA": "avx2"}
    )
    return report, [answer["tokens"] for answer in told]


def agreed(a: list[list[int]], b: list[list[int]]) -> int:
    """Tokens up to the first that differs, over all answers: after it the two answer other questions."""
    return sum(
        next((i for i, (x, y) in enumerate(zip(s, t, strict=True)) if x != y), len(s))
        for s, t in zip(a, b, strict=True)
    )


def test_they_say_that_they_are_on_and_for_which_tensors(ours: Run) -> None:
    assert (ours.report["on"], ours.report["why"]) == (True, "")
    assert ours.report["types"]["q4_1"] == ""
    assert ours.report["tensors"]["q4_1"] == 5 * 210, "of five models in one process"
    assert ours.report["bytes"] > 5 * 60_000_000


def test_greedy_answers_agree_as_well_as_the_engine_with_itself(stock: Run, ours: Run) -> None:
    itself = agreed(stock.said[PLAIN], stock.said[OTHERWISE])
    with_us = agreed(stock.said[PLAIN], ours.said[PLAIN])
    assert with_us >= itself - TOKENS, "at most one near tie more falls the other way"
    assert with_us >= len(PROMPTS) * TOKENS // 2
    for theirs, own in zip(stock.first, ours.first, strict=True):
        assert own == pytest.approx(theirs, abs=0.1)


def test_those_for_older_processors_agree_as_well(
    stock: Run, ours: Run, older: tuple[dict[str, Any], list[list[int]]]
) -> None:
    report, said = older
    assert (report["on"], report["isa"]) == (True, "avx2")
    assert set(report["types"].values()) == {""}, "every type passed its self-test"
    assert report["tensors"]["q4_1"] == 210
    assert agreed(stock.said[PLAIN], said) >= agreed(stock.said[PLAIN], stock.said[OTHERWISE]) - TOKENS
    assert agreed(ours.said[PLAIN], said) >= len(PROMPTS) * TOKENS // 2


def test_mapped_or_not_and_with_any_threads_they_answer_the_same(ours: Run) -> None:
    assert ours.said[UNMAPPED] == ours.said[PLAIN][: len(SOME)]


def test_adapters_are_applied(stock: Run, ours: Run) -> None:
    assert ours.said[ADAPTED] != ours.said[PLAIN][: len(SOME)]
    assert agreed(stock.said[ADAPTED], ours.said[ADAPTED]) >= len(SOME) * TOKENS // 3


def test_embeddings_point_the_same_way(stock: Run, ours: Run) -> None:
    product = sum(a * b for a, b in zip(stock.vector, ours.vector, strict=True))
    assert product / math.hypot(*stock.vector) / math.hypot(*ours.vector) > 0.999
    assert stock.vector != ours.vector, "it was computed by other kernels"


def test_a_switch_keeps_them_out(stock: Run) -> None:
    asks = [continuation(PROMPTS[0], tokens=TOKENS)]
    one: dict[str, Any] = {"model": str(model())}
    report, told = answers([one], asks, library=native_build.library(), env={"INHOUSE_KERNELS": "off"})
    assert not report["on"]
    assert "INHOUSE_KERNELS" in report["why"]
    assert not report["tensors"]
    assert told[0]["tokens"] == stock.said[PLAIN][0]
