"""Reranking as the fake engine does it: by the words that two texts share. The shape is llama-server's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .fake_http import Refused

MARKS = 3
"""Tokens around a pair: the beginning and two ends."""


def score(query: str, document: str) -> float:
    """A logit: -5 where no word of the query is in the document, 5 where all are."""
    words = set(query.split())
    return 10.0 * len(words & set(document.split())) / max(len(words), 1) - 5.0


def rank(
    raw: dict[str, Any], encode: Callable[[str], list[int]], need_room: Callable[[list[int]], None]
) -> dict[str, Any]:
    """The answer of /rerank, best first. Raises Refused."""
    query, documents = raw.get("query"), raw.get("documents")
    if not isinstance(query, str) or not query:
        raise Refused(400, '"query" must be a string')
    if not _texts(documents):
        raise Refused(400, '"documents" must be a non-empty string array')
    used, rows = 0, []
    for index, document in enumerate(documents or ()):
        ids = [*encode(query), *encode(document), *range(MARKS)]
        need_room(ids)
        used += len(ids)
        rows.append({"index": index, "relevance_score": score(query, document)})
    rows.sort(key=lambda row: -row["relevance_score"])
    usage = {"prompt_tokens": used, "total_tokens": used}
    return {"model": "fake", "object": "list", "usage": usage, "results": rows}


def _texts(documents: Any) -> bool:
    return isinstance(documents, list) and bool(documents) and all(isinstance(d, str) for d in documents)
