"""Words of the fake engine: tokens, a chat template, vectors. All the same in every process."""

from __future__ import annotations

import hashlib
import json
import math
import re
import zlib
from collections.abc import Sequence
from typing import Any

PROSE = (
    "The quick brown fox jumps over the lazy dog, then sits down in the sun and thinks about "
    "nothing in particular until the evening comes. "
)
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}<|im_start|>assistant\n"
)
_PIECE = re.compile(r" ?[^\s]{1,12}|\s")
_HASHED = 1 << 21  # above every code point
_REMEMBER = 1 << 18


class Vocabulary:
    """Text to token ids and back. A token is up to twelve letters with the space before them, or one
    white-space character. A single character has its code point as id, a longer piece a hash that
    is remembered; the same text has the same ids in every process."""

    def __init__(self) -> None:
        self._pieces: dict[int, str] = {}

    def pieces(self, text: str) -> list[str]:
        return _PIECE.findall(text)

    def id(self, piece: str) -> int:
        if len(piece) == 1:
            return ord(piece)
        number = _HASHED + (zlib.crc32(piece.encode("utf-8", "replace")) & 0x3FFFFFFF)
        if len(self._pieces) >= _REMEMBER:
            self._pieces.clear()
        self._pieces[number] = piece
        return number

    def encode(self, text: str) -> list[int]:
        return [self.id(piece) for piece in self.pieces(text)]

    def piece(self, number: int) -> str:
        """U+FFFD for an id that was never seen."""
        if number < _HASHED:
            return chr(number) if 0 <= number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"
        return self._pieces.get(number, "\ufffd")

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.piece(number) for number in ids)


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


def render(raw: dict[str, Any]) -> tuple[str, str]:
    """The prompt of a chat, and the last thing the user said. Raises ValueError."""
    messages = raw.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise ValueError("'messages' must be a list of objects")
    parts = [f"<|im_start|>tools\n{json.dumps(raw['tools'])}<|im_end|>\n"] if raw.get("tools") else []
    spoken = ""
    for message in messages:
        text = _text(message.get("content"))
        if message.get("role") == "user":
            spoken = text
        calls = f"\n{json.dumps(message['tool_calls'])}" if message.get("tool_calls") else ""
        parts.append(f"<|im_start|>{message.get('role')}\n{text}{calls}<|im_end|>\n")
    return "".join(parts) + "<|im_start|>assistant\n", spoken


def vector(text: str, length: int) -> list[float]:
    """A unit vector that depends on the text alone."""
    data = hashlib.shake_256(text.encode("utf-8", "replace")).digest(length)
    values = [byte - 127.5 for byte in data]
    norm = math.sqrt(sum(v * v for v in values))
    return [v / norm for v in values]
