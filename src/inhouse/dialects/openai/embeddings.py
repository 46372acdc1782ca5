"""Encoder of /v1/embeddings."""

from __future__ import annotations

import base64
import sys
from array import array
from typing import Any

from .chat import WholeAnswer


class EmbeddingAnswer(WholeAnswer):
    """A list of ``embedding`` objects; ``base64`` is little-endian float32."""

    def __init__(self, model: str, total: int, *, as_base64: bool) -> None:
        super().__init__()
        self.as_base64 = as_base64
        self._model = model
        self._total = total

    def body(self) -> dict[str, Any]:
        vectors = self._fold.vectors_in_order(self._total)
        usage = self._ending()
        tokens = usage["usage"]["prompt_tokens"]
        usage["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        data = [
            {"object": "embedding", "index": i, "embedding": _packed(v) if self.as_base64 else v}
            for i, v in enumerate(vectors)
        ]
        return {"object": "list", "data": data, "model": self._model, **usage}


def _packed(values: tuple[float, ...]) -> str:
    floats = array("f", values)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()
