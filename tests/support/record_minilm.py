"""Records what sentence-transformers says of all-MiniLM-L6-v2, for tests/upstream/test_minilm_model.py.

Run by hand, outside the project's environment (torch is large), with the package's files unpacked:

    python -m venv /tmp/st && /tmp/st/bin/pip install torch==2.13.0 sentence-transformers
    PYTHONPATH=tests /tmp/st/bin/python tests/support/record_minilm.py MODEL_FOLDER \
        > tests/upstream/minilm_reference.json

Vectors are base64 of little-endian half floats (an error of about 1e-7 in a cosine). The model reads 512
tokens here, as it was trained and as llama.cpp runs it; sentence-transformers' own default is 256. The
scores are those of ``minilm.gguf(rank=True)``: pooler, tanh, the made-up head, one segment.
"""

from __future__ import annotations

import base64
import json
import struct
import sys
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from support.rank_head import BIAS, head

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "A cat sat on the mat",
    "What is the capital of France?",
    "Paris is the capital and largest city of France.",
    "Der Eiffelturm steht in Paris.",
    "El perro corre por el parque con una pelota.",
    "Où est la bibliothèque ? Déjà vu, naïve café, señor, Ångström.",
    "Москва — столица России.",
    "北京是中国的首都。",
    "東京は日本の首都です。",
    "서울은 대한민국의 수도이다.",
    "القاهرة عاصمة مصر.",
    "नई दिल्ली भारत की राजधानी है।",
    "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας.",
    "I love it! 😀🎉👍🏽",
    "😀",
    " ",
    ".",
    "\n\t ",
    "a",
    "def add(a, b):\n    return a + b  # sums two numbers",
    "https://example.org/path?query=1&other=%20x",
    "3.14159 × 10⁻⁵ ≈ 0 — “quoted”, ‘single’ … and ½",
    "SHOUTING AND MiXeD CaSe, with    many   spaces",
    "[CLS] typed [SEP] control [MASK] texts",
    "pneumonoultramicroscopicsilicovolcanoconiosis antidisestablishmentarianism",
    " ".join(f"Sentence number {i} of a long document about rivers, trains and music." for i in range(28)),
]
QUERY = "What is the capital of France?"
DOCUMENTS = [TEXTS[3], TEXTS[4], TEXTS[0], TEXTS[14], TEXTS[26]]


def packed(values: Any) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}e", *values)).decode()


def scores(model: SentenceTransformer) -> list[float]:
    bert = model[0].auto_model
    last = torch.tensor(head())
    out = []
    for document in DOCUMENTS:
        tokens = model.tokenizer(QUERY, document, return_tensors="pt")
        tokens["token_type_ids"].zero_()  # llama.cpp knows the first segment only
        with torch.no_grad():
            pooled = bert(**tokens).pooler_output[0]
        out.append(float(pooled @ last + BIAS))
    return out


def main() -> None:
    model = SentenceTransformer(sys.argv[1], device="cpu")
    model.max_seq_length = 512
    vectors = model.encode(TEXTS, normalize_embeddings=True, batch_size=1)
    tokens = [len(model.tokenizer(text)["input_ids"]) for text in TEXTS]
    rows = [
        {"text": text, "tokens": count, "vector": packed(vector.tolist())}
        for text, count, vector in zip(TEXTS, tokens, vectors, strict=True)
    ]
    ranks = {"query": QUERY, "documents": DOCUMENTS, "scores": scores(model)}
    print(json.dumps({"embeddings": rows, "ranks": ranks}, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
