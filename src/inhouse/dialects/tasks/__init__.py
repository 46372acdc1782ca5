"""Tasks beside generation: reranking, scoring, tokens, templates; pure.

They have no dialect of their own: people know them from Jina, Cohere, Text Embeddings Inference, vLLM
and llama.cpp, whose shapes are taken side by side. Errors look as the route table says.
"""

from .rerank import decode_rerank, decode_rerank_v2
from .score import decode_score
from .tokens import decode_apply_template, decode_detokenize, decode_tokenize

__all__ = [
    "decode_apply_template",
    "decode_detokenize",
    "decode_rerank",
    "decode_rerank_v2",
    "decode_score",
    "decode_tokenize",
]
