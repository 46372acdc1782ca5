"""/v1/embeddings: bodies and answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from .encode import Service
from .features import need
from .wire import WireUsage, unreadable

EMBED = "/v1/embeddings"


class _Row(msgspec.Struct):
    embedding: list[float | None]
    index: int = 0


class _Answer(msgspec.Struct):
    data: list[_Row]
    usage: WireUsage | None = None


def encode_embed(
    inputs: Sequence[str | tuple[int, ...]], service: Service, *, truncate: bool
) -> dict[str, Any]:
    """The body for some inputs. Servers refuse empty ones: a space stands for nothing.

    Raises Unsupported for a server without embeddings, or without token ids where such are given.
    """
    need(service.takes, "embeddings", "model", hint="Use another model for embeddings.")
    if not all(isinstance(one, str) for one in inputs):
        need(service.takes, "token_prompts", "input", hint="Send texts.")
    texts = [(one or " ") if isinstance(one, str) else list(one) for one in inputs]
    body: dict[str, Any] = {"model": service.model, "input": texts, "encoding_format": "float"}
    if truncate and "truncate_prompt_tokens" in service.takes:
        body["truncate_prompt_tokens"] = -1
    return body


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
    return vectors, (answer.usage.prompt_tokens or 0) if answer.usage else 0
