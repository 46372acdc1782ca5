"""Token ids with their bytes, of llama-server's /tokenize."""

from __future__ import annotations

from typing import Any

import msgspec

from .wire import unreadable

PATH = "/tokenize"


class _Piece(msgspec.Struct):
    """``piece`` is text, or the bytes of what is no valid UTF-8 by itself."""

    id: int
    piece: str | list[int] = ""


class _Answer(msgspec.Struct):
    tokens: list[_Piece]


def encode_pieces(text: str, *, special: bool, control: bool) -> dict[str, Any]:
    """The body: ``special`` adds what the model puts around a text, ``control`` reads control tokens."""
    return {"content": text, "add_special": special, "parse_special": control, "with_pieces": True}


def decode_pieces(body: bytes) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
    """Ids, and the bytes of each. Raises EngineError."""
    try:
        tokens = msgspec.json.decode(body, type=_Answer).tokens
        pieces = tuple(t.piece.encode() if isinstance(t.piece, str) else bytes(t.piece) for t in tokens)
    except (msgspec.DecodeError, ValueError) as error:
        raise unreadable(error) from error
    return tuple(token.id for token in tokens), pieces
