"""Where the prompts of a worker are saved: one folder for all that changes what is saved of one.

A saved prompt is the engine's own KV cache, which only an engine set up alike can read. The folder's name
tells ``model-engine-build-rest``: the weights, the kind of engine, its build, and everything else of the
order but what is known to make no difference. An option that is new here makes a new folder, never a wrong
answer. How many slots there are does count (llama.cpp writes the number of its streams and refuses
another), and so does the context where it picks the factors of the positions.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..core.models import Card

_NO_DIFFERENCE: Final = frozenset(
    {
        "adapters",  # are told apart by request
        "address",
        "batch",
        "cache_ram_mib",
        "context_length",
        "draft",
        "draft_tokens",
        "guess",
        "guess_fields",
        "kernels",  # the build tells
        "logical_batch",
        "memory_limit",
        "mmap",
        "model",
        "pooling",
        "prefixes",
        "projector",
        "secret",
        "template",  # tokens decide
        "threads",
    }
)

_POSITIONS: Final = "rope.scaling.original_context_length"


def folder(root: str, card: Card, order: Mapping[str, Any], *, kind: str, build: str) -> str:
    """The folder below ``root`` for workers of this ``order``, made if need be; "" where none can be used.

    Where a draft model or further heads guess, the engine keeps two caches, of which it saves one: then
    none are saved.
    """
    second = order["draft"] or any(kind.startswith("draft") for kind in order.get("guess", ()))
    if not root or second or "completion" not in card.capabilities:
        return ""
    facts = {name: value for name, value in order.items() if name not in _NO_DIFFERENCE}
    facts |= {"projector": [file.digest for file in card.of_role("projector")]}
    original = next((value for key, value in card.metadata.items() if key.endswith(_POSITIONS)), None)
    if isinstance(original, int):
        facts["long"] = order["context_length"] > original
    parts = (model_part(card.weights_digest), kind, _short(build), _short(json.dumps(facts, sort_keys=True)))
    path = Path(root) / "-".join(parts)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return ""
    return str(path) if os.access(path, os.W_OK) else ""


def model_part(weights_digest: str) -> str:
    """How the name of a model's folders begins."""
    return weights_digest.rpartition(":")[2][:16]


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
