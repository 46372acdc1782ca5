"""Embeddings of llama-server's /v1/embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from ...core.errors import EngineError
from .wire import WireUsage, unreadable

PATH = "/v1/embeddings"


class _Row(msgspec.Struct):
    embedding: list[float | None]
    index: int = 0


class _Answer(msgspec.Struct):
    data: list[_Row]
    usage: WireUsage | None = None


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
