"""The vocabulary inside a GGUF header: what an engine reads by index must be as long as it expects."""

from __future__ import annotations

import hashlib
from typing import Final

from .gguf import Header
from .gguf_bytes import Numbers, Strings
from .gguf_fields import Fields

CONTROL: Final = 3
NO_TOKEN: Final = 2**32 - 1
VOCABULARY_CEILING: Final = 2**20
MAX_CONTROL_TOKENS: Final = 16_384
MAX_CONTROL_BYTES: Final = 2**20

_PREFIX = "tokenizer.ggml."
_TOKENS = "tokenizer.ggml.tokens"
_TYPES = "tokenizer.ggml.token_type"

# Engines read these as C arrays of exactly this type, without looking at the length.
_PER_TOKEN: Final = {_TYPES: "iI", "tokenizer.ggml.scores": "f"}


def check_vocabulary(header: Header, fields: Fields) -> int:
    """The number of tokens. Raises BadRequest when the arrays beside them do not fit."""
    tokens = fields.values.get(_TOKENS)
    if not isinstance(tokens, Strings) or not len(tokens):
        raise fields.refuse(_TOKENS, "is missing: the file has no vocabulary")
    count = len(tokens)
    if count > VOCABULARY_CEILING:
        raise fields.refuse(_TOKENS, f"has {count} tokens, at most {VOCABULARY_CEILING} are allowed")
    if not fields.text("tokenizer.ggml.model"):
        raise fields.refuse("tokenizer.ggml.model", "is missing: the file has no tokenizer")
    for key, letters in _PER_TOKEN.items():
        beside = fields.values.get(key)
        if beside is None:
            continue
        if not isinstance(beside, Numbers) or beside.letter not in letters:
            raise fields.refuse(key, "is not an array of the right type")
        if len(beside) != count:
            raise fields.refuse(key, f"has {len(beside)} entries for {count} tokens")
    _check_others(fields, count)
    rows = next((t.shape[-1] for t in header.tensors if t.name == "token_embd.weight"), None)
    if rows is not None and rows != count:
        raise fields.refuse(_TOKENS, f"has {count} tokens for {rows} embedding rows")
    return count


def _check_others(fields: Fields, count: int) -> None:
    merges = fields.values.get("tokenizer.ggml.merges")
    if merges is not None and not isinstance(merges, Strings):
        raise fields.refuse("tokenizer.ggml.merges", "is not an array of texts")
    charsmap = fields.values.get("tokenizer.ggml.precompiled_charsmap")
    if charsmap is not None and not (isinstance(charsmap, Numbers) and charsmap.letter in "bB"):
        raise fields.refuse("tokenizer.ggml.precompiled_charsmap", "is not an array of bytes")
    for key, value in fields.values.items():
        if key.startswith(_PREFIX) and key.endswith("_token_id") and value != NO_TOKEN:
            fields.whole(key, -1, count - 1)
        elif key.startswith(f"{_PREFIX}add_"):
            fields.flag(key)


def control_tokens(fields: Fields) -> tuple[str, ...]:
    """The texts that the tokenizer reads as control tokens."""
    tokens, types = fields.values.get(_TOKENS), fields.values.get(_TYPES)
    if not isinstance(tokens, Strings) or not isinstance(types, Numbers):
        return ()
    places: list[int] = []
    room = MAX_CONTROL_BYTES
    for place in types.places(CONTROL):
        places.append(place)
        room -= tokens.length(place)
        if room < 0 or len(places) > MAX_CONTROL_TOKENS:
            raise fields.refuse(_TYPES, "marks too many control tokens")
    return tuple(text for text in map(tokens.__getitem__, places) if text)


def tokenizer_sha256(header: Header) -> str:
    """A digest over all that makes the tokenizer: its keys and their bytes in the file, sorted by key."""
    digest = hashlib.sha256()
    for key in sorted(key for key in header.values if key.startswith(_PREFIX)):
        raw = header.raw(key)
        digest.update(f"{key} {len(raw)}\n".encode())
        digest.update(raw)
    return digest.hexdigest()
