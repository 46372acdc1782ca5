"""/rerank, /v1/rerank and /v2/rerank.

Sources: Jina's and Cohere's API references, Text Embeddings Inference (``texts``), vLLM and llama.cpp.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import Any

from ...core.events import Finished
from ...core.json import parse
from ...core.requests import Rerank
from ..adapters import read_adapters
from ..codec import Decoded
from ..fields import INT32_MAX, Fields, missing, wrong_value
from .answer import RankBody
from .reading import read_priority, read_raw, read_text, read_texts, read_truncate

COHERE_LONGEST = 4096
"""Cohere's documented default of ``max_tokens_per_doc``."""
_PER_UNIT = 100
"""Documents of one of Cohere's search units."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an answer shows. ``top`` results; ``texts`` beside them; ``raw`` scores; ``version`` of
    Cohere's API; ``bare``: TEI's shape, a list."""

    top: int
    texts: bool
    raw: bool
    version: int = 1
    bare: bool = False


def decode_rerank(body: bytes) -> Decoded:
    """POST /rerank and /v1/rerank, as of Jina, Cohere (v1), TEI or llama.cpp. Raises BadRequest."""
    fields = Fields(parse(body))
    bare = fields.has("texts")
    if bare and fields.has("documents"):
        wrong_value("texts", "either it or 'documents'")
    name = "texts" if bare else "documents"
    fields.refuse("return_embeddings", False)
    fields.note("max_chunks_per_doc")  # a document is read whole: as one chunk
    # Jina gives the documents back unless told otherwise, TEI only when told to.
    shown = fields.flag("return_text", False) if bare else fields.flag("return_documents", True)
    return _decoded(fields, name, texts=shown, bare=bare)


def decode_rerank_v2(body: bytes) -> Decoded:
    """POST /v2/rerank: Cohere's, where long documents are always cut. Raises BadRequest."""
    fields = Fields(parse(body))
    shown = fields.flag("return_documents", False)
    return _decoded(fields, "documents", texts=shown, version=2)


def _decoded(fields: Fields, name: str, *, texts: bool, version: int = 1, bare: bool = False) -> Decoded:
    cohere = version == 2
    model = fields.required_text("model")
    query = fields.get("query")
    if query is None:
        missing("query", "the text to compare with")
    query = read_text(query, "query")
    documents = read_texts(fields, name)
    fields.refuse("rank_fields", [], ["text"], why="Only 'text' of a document is read.")
    longest = fields.whole("max_tokens_per_doc", 1, INT32_MAX)
    top = fields.whole("top_n", 1, INT32_MAX)
    raw = read_raw(fields)
    request = Rerank(
        model=model,
        keep_alive=fields.duration("keep_alive"),
        adapters=read_adapters(fields),
        priority=read_priority(fields),
        pairs=tuple((query, document) for document in documents),
        truncate=read_truncate(fields, cohere),
        longest=COHERE_LONGEST if cohere and longest is None else longest,
        params=("query", name),
    )
    wanted = Wanted(min(top or len(documents), len(documents)), texts, raw, version, bare)
    return Decoded(request, RerankAnswer(model, documents, wanted), fields.noted())


class RerankAnswer(RankBody):
    """Documents by their relevance, the best first; of equals, the first one first."""

    def __init__(self, model: str, documents: list[str], wanted: Wanted) -> None:
        super().__init__(len(documents), raw=wanted.raw)
        self.options = wanted
        self._model, self._documents = model, documents

    def _body(self, finished: Finished) -> Any:
        scores = self._scores()
        best = sorted(range(len(scores)), key=lambda index: (-scores[index], index))[: self.options.top]
        if self.options.bare:
            return [self._bare(index, scores[index]) for index in best]
        used = finished.usage.prompt_tokens
        return {
            "id": f"rerank-{secrets.token_hex(12)}",
            "object": "list",
            "model": self._model,
            "results": [self._result(index, scores[index]) for index in best],
            "usage": {"prompt_tokens": used, "total_tokens": used},
            "meta": {
                "api_version": {"version": str(self.options.version)},
                "billed_units": {"search_units": math.ceil(len(scores) / _PER_UNIT)},
                "tokens": {"input_tokens": used, "output_tokens": 0},
            },
            **self._warnings(),
        }

    def _result(self, index: int, score: float) -> dict[str, Any]:
        result: dict[str, Any] = {"index": index, "relevance_score": score}
        if self.options.texts:
            result["document"] = {"text": self._documents[index]}
        return result

    def _bare(self, index: int, score: float) -> dict[str, Any]:
        result: dict[str, Any] = {"index": index, "score": score}
        if self.options.texts:
            result["text"] = self._documents[index]
        return result
