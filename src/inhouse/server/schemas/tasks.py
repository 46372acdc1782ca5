"""Reranking, scores, tokens, templates."""

from __future__ import annotations

from typing import Any

from .words import BOOL, INT, LIST, MODEL, OBJ, SAMPLING, STRING, Fields

_TEXT: Any = ([STRING, OBJ], "A text, or an object with text.", {})
_RANKING: dict[str, Any] = {
    "raw_scores": (BOOL, "The model's own figures instead of 0 to 1.", {}),
    "truncate": (BOOL, "Cut documents that are too long.", {}),
    "max_tokens_per_doc": (INT, "Cut every document to so many tokens.", {"minimum": 1}),
    "priority": (INT, "Above 0: waits behind the others.", {"minimum": 0, "maximum": 999}),
    "keep_alive": SAMPLING["keep_alive"],
}
_RERANK: dict[str, Any] = {
    "model": MODEL,
    "query": _TEXT,
    "documents": (LIST, "Texts, or objects with text.", {"items": {"type": [STRING, OBJ]}}),
    "top_n": (INT, "The best ones only.", {"minimum": 1}),
    "return_documents": (BOOL, "Whether the texts come back.", {}),
    **_RANKING,
}
_PAIRED: Any = ([STRING, LIST, OBJ], "A text or several.", {})
FIELDS: Fields = {
    "Rerank": (
        {**_RERANK, "texts": (LIST, "TEI's name of documents; its shape comes back.", {})},
        ("model", "query"),
    ),
    "RerankV2": (_RERANK, ("model", "query", "documents")),
    "Score": (
        {
            "model": MODEL,
            "text_1": _PAIRED,
            "text_2": _PAIRED,
            "queries": _PAIRED,
            "documents": _PAIRED,
            **_RANKING,
        },
        ("model",),
    ),
    "Tokenize": (
        {
            "model": MODEL,
            "content": (STRING, "A text (llama.cpp).", {"maxLength": 4_000_000}),
            "prompt": (STRING, "A text (vLLM).", {"maxLength": 4_000_000}),
            "messages": (LIST, "A conversation (vLLM).", {"items": {"type": OBJ}}),
            "add_special": (BOOL, "Add what the model puts around a text.", {}),
            "parse_special": (BOOL, "Read the texts of control tokens as such.", {}),
            "with_pieces": (BOOL, "The text of each token too.", {}),
            "return_token_strs": (BOOL, "The texts in a list.", {}),
        },
        ("model",),
    ),
    "Detokenize": (
        {"model": MODEL, "tokens": (LIST, "Token ids.", {"items": {"type": INT, "minimum": 0}})},
        ("model", "tokens"),
    ),
    "ApplyTemplate": (
        {
            "model": MODEL,
            "messages": (LIST, "The conversation so far.", {"items": {"type": OBJ}}),
            "tools": (LIST, "Functions the model may call.", {"items": {"type": OBJ}}),
        },
        ("model", "messages"),
    ),
}
