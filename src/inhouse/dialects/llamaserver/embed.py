"""Embeddings of llama-server's /v1/embeddings, and the spelling its WordPiece tokenizer needs."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import msgspec

from ...core.errors import EngineError
from ...core.models import Card
from .wire import WireUsage, unreadable

PATH = "/v1/embeddings"
_HANGUL = re.compile("[\uac00-\ud7a3]+")
_NORMALIZER = "tokenizer.ggml.normalizer."


class _Row(msgspec.Struct):
    embedding: list[float | None]
    index: int = 0


class _Answer(msgspec.Struct):
    data: list[_Row]
    usage: WireUsage | None = None


def spelled(text: str, card: Card) -> str:
    """A text as the engine must get it for the tokens that the model was trained on.

    WordPiece without accents takes Korean syllables apart into their letters; llama.cpp's does not,
    and most syllables are no tokens: such a text would be little more than "unknown" to the model.
    """
    if card.metadata.get("tokenizer.ggml.model") != "bert" or not _HANGUL.search(text):
        return text
    folded = card.metadata.get(_NORMALIZER + "lowercase", True)
    if not card.metadata.get(_NORMALIZER + "strip_accents", folded):
        return text
    return _HANGUL.sub(lambda match: unicodedata.normalize("NFD", match[0]), text)


def encode_embed(inputs: Sequence[str | Sequence[int]]) -> dict[str, Any]:
    """The body for a batch. The engine refuses empty inputs: a space stands for nothing."""
    return {"input": [text if text else " " for text in inputs], "encoding_format": "float"}


def decode_embed(body: bytes, count: int) -> tuple[list[list[float]], int]:
    """Raw vectors in the order of the inputs, and their tokens. Raises EngineError."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except msgspec.DecodeError as error:
        raise unreadable(error) from error
    rows = {row.index: row.embedding for row in answer.data}
    if sorted(rows) != list(range(count)):
        raise unreadable(ValueError(f"{len(rows)} vectors for {count} inputs"))
    vectors = [[math.nan if x is None else x for x in rows[i]] for i in range(count)]
    return vectors, answer.usage.prompt_tokens if answer.usage else 0


def normalised(values: Sequence[float], dimensions: int | None = None) -> tuple[float, ...]:
    """The first ``dimensions`` values at length 1. Raises EngineError if they are not numbers."""
    part = values[:dimensions] if dimensions else values
    length = math.sqrt(sum(x * x for x in part))
    if not math.isfinite(length):
        raise EngineError(
            "The model gave an embedding that is not a number.",
            hint="Try another input, or another quantization of the model.",
        )
    return tuple(x / length for x in part) if length else tuple(part)
