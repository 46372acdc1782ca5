"""Reranking of llama-server's /rerank, whose scores are what the model's head gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from ...core.errors import EngineError
from ...core.models import Card
from .escape import BREAK, escape
from .wire import WireUsage, unreadable

PATH = "/rerank"
TEMPLATE = "tokenizer.chat_template.rerank"
"""Key of a GGUF for the text around a pair; without it the tokenizer's own marks stand there."""

AROUND = 4
"""Marks around a pair, at most: beginning, end of the query, separator, end of the document."""
_FAILED = -1e6
"""What the engine writes for a pair that it could not compute."""
_SOFTMAX = frozenset({"qwen3", "qwen3vl"})
"""Architectures whose scores are probabilities already (llama.cpp's graph ends them in a softmax)."""


class _Row(msgspec.Struct):
    index: int
    relevance_score: float | None = None


class _Answer(msgspec.Struct):
    results: list[_Row]
    usage: WireUsage | None = None


def encode_rank(query: str, documents: Sequence[str], card: Card) -> dict[str, Any]:
    """The body for one query and some documents."""
    return {"query": _plain(query, card), "documents": [_plain(text, card) for text in documents]}


def _plain(text: str, card: Card) -> str:
    """A text that stays one: a template's places are filled in before control tokens are read."""
    if TEMPLATE not in card.metadata:
        return text
    text = escape(text, card.control_tokens)
    for place in ("{query}", "{document}"):
        text = text.replace(place, place[0] + BREAK + place[1:])
    return text


def decode_rank(body: bytes, count: int) -> tuple[list[float], int]:
    """Scores in the order of the documents, and their tokens. Raises EngineError."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except msgspec.DecodeError as error:
        raise unreadable(error) from error
    rows = {row.index: row.relevance_score for row in answer.results}
    if sorted(rows) != list(range(count)):
        raise unreadable(ValueError(f"{len(rows)} scores for {count} documents"))
    scores = [rows[i] for i in range(count)]
    sound = [s for s in scores if s is not None and math.isfinite(s) and s > _FAILED]
    if len(sound) != count:
        raise EngineError(
            "The model gave a score that is not a number.",
            hint="Try another text, or another quantization of the model.",
        )
    return sound, answer.usage.prompt_tokens if answer.usage else 0


def relevance(score: float, card: Card) -> float:
    """A score of the model as 0..1: through the logistic function, unless it is a probability."""
    if card.metadata.get("general.architecture") in _SOFTMAX:
        return min(max(score, 0.0), 1.0)
    if score >= 0:
        return 1.0 / (1.0 + math.exp(-score))
    small = math.exp(score)  # never overflows: the score is negative
    return small / (1.0 + small)
