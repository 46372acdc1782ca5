"""Slots that llama-server saves to files and reads again: calls, answers, and what stands in a file."""

from __future__ import annotations

import struct
from array import array
from pathlib import Path
from typing import Final

import msgspec

from .wire import unreadable

MAGIC: Final = 0x67677371
"""``LLAMA_STATE_SEQ_MAGIC``, "ggsq"."""

PACKED: Final = -1
"""``LLAMA_TOKEN_NULL``, which no token has: newer servers begin with it, a version and a length."""


class Moved(msgspec.Struct):
    """What a save or a restore moved: tokens and bytes."""

    n_saved: int = 0
    n_written: int = 0
    n_restored: int = 0
    n_read: int = 0


def path(slot: int, action: str) -> str:
    """Where to POST ``save`` or ``restore`` with a ``filename``."""
    return f"/slots/{slot}?action={action}"


def decode_moved(body: bytes) -> Moved:
    """The answer of either. Raises EngineError."""
    try:
        return msgspec.json.decode(body, type=Moved)
    except msgspec.DecodeError as error:
        raise unreadable(error) from error


def held_tokens(file_path: Path) -> list[int]:
    """The token ids at the beginning of a file that the engine wrote. Raises ValueError, OSError.

    The layout is that of ``llama_state_seq_save_file``: magic, version, number of words, words; newer
    servers pack those as a mark, a version, the number of tokens and the tokens, then media.
    """
    with file_path.open("rb") as file:
        head = file.read(12)
        if len(head) < 12:
            raise ValueError("too short")
        magic, _, count = struct.unpack("<III", head)
        if magic != MAGIC or count * 4 > file_path.stat().st_size:
            raise ValueError("no saved sequence")
        words = array("i", file.read(4 * count))
    if len(words) != count:
        raise ValueError("too short")
    return _unpacked(words) if count and words[0] == PACKED else list(words)


def _unpacked(words: array[int]) -> list[int]:
    """``write(vector)`` puts a 32-bit length before the values."""
    if len(words) < 3 or words[2] < 0 or words[2] > len(words) - 3:
        raise ValueError("unreadable tokens")
    return list(words[3 : 3 + words[2]])
