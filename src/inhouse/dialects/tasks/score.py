"""/score and /v1/score: how well texts fit together, pair by pair. Source: vLLM's score API."""

from __future__ import annotations

import secrets
import time
from typing import Any

from ...core.events import Finished
from ...core.json import parse
from ...core.requests import Rerank
from ..adapters import read_adapters
from ..codec import Decoded
from ..fields import INT32_MAX, Fields, wrong_value
from .answer import RankBody
from .reading import read_priority, read_raw, read_text, read_texts, read_truncate

_NAMES = (("text_1", "text_2"), ("queries", "documents"))


def decode_score(body: bytes) -> Decoded:
    """POST /score and /v1/score: one text with many, or as many with as many. Raises BadRequest."""
    fields = Fields(parse(body))
    model = fields.required_text("model")
    newer = fields.has("queries")
    (first, second), others = _NAMES[newer], _NAMES[not newer]
    for name in others:
        if fields.has(name):
            wrong_value(name, f"either it or '{first}' and '{second}'")
    left, right = _one_or_more(fields, first), _one_or_more(fields, second)
    if len(left) == 1:
        left = left * len(right)
    if len(left) != len(right):
        wrong_value(second, f"as many texts as '{first}', where that has more than one", len(right))
    raw = read_raw(fields)
    request = Rerank(
        model=model,
        keep_alive=fields.duration("keep_alive"),
        adapters=read_adapters(fields),
        priority=read_priority(fields),
        pairs=tuple(zip(left, right, strict=True)),
        truncate=read_truncate(fields),
        longest=fields.whole("max_tokens_per_doc", 1, INT32_MAX),
        params=(first, second),
    )
    fields.text("user")
    fields.note("user")
    return Decoded(request, ScoreAnswer(model, len(right), raw=raw), fields.noted())


def _one_or_more(fields: Fields, name: str) -> list[str]:
    value = fields.get(name)
    return [read_text(value, name)] if isinstance(value, str | dict) else read_texts(fields, name)


class ScoreAnswer(RankBody):
    """A list of ``score`` objects in the order of the pairs."""

    def __init__(self, model: str, total: int, *, raw: bool) -> None:
        super().__init__(total, raw=raw)
        self.options = raw
        self._model = model

    def _body(self, finished: Finished) -> dict[str, Any]:
        used = finished.usage.prompt_tokens
        return {
            "id": f"score-{secrets.token_hex(12)}",
            "object": "list",
            "created": int(time.time()),
            "model": self._model,
            "data": [{"index": i, "object": "score", "score": s} for i, s in enumerate(self._scores())],
            "usage": {"prompt_tokens": used, "total_tokens": used, "completion_tokens": 0},
            **self._warnings(),
        }
