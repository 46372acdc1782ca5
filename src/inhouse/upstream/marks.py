"""What a prompt begins with, as a chain of short hashes. Pure.

Mark ``i`` stands for the first ``i + 1`` blocks of a prompt together with whose it is and which adapters
read it, so two prompts have as many leading marks in common as blocks. The marks are of the request's own
text, not of its tokens: that costs no call of the engine, and a wrong guess costs time only, since the
engine compares tokens before it uses anything.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

BLOCK: Final = 64
"""Bytes of a block: some 16 tokens of English."""

FINE: Final = 16
"""Bytes of each of the first blocks: short prompts have something in common, too."""

FIRST: Final = 32
"""So many blocks are fine."""

MOST: Final = 2**14
"""Blocks that are looked at; what a longer prompt (1 MiB) goes on with is not compared."""

_SHAPE = ("tools", "tool_choice", "parallel_tool_calls", "chat_template_kwargs", "reasoning_effort")
_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Marks:
    """``chain`` of the whole prompt of ``size`` bytes; the first ``head`` bytes are tools and system.
    ``plain``: it is text alone, without images."""

    chain: tuple[bytes, ...] = ()
    size: int = 0
    head: int = 0
    plain: bool = True

    def common(self, other: Sequence[bytes]) -> int:
        """How many leading blocks are the same."""
        low, high = 0, min(len(self.chain), len(other))
        while low < high:  # equal marks mean equal beginnings, so this can be searched
            middle = (low + high + 1) // 2
            if self.chain[middle - 1] == other[middle - 1]:
                low = middle
            else:
                high = middle - 1
        return low

    def share(self, blocks: int) -> float:
        """Which part of the prompt so many blocks are, 0..1."""
        return min(1.0, extent(blocks) / self.size) if self.size else 0.0

    def cut(self, blocks: int) -> Marks:
        """Those of the first blocks alone."""
        return Marks(self.chain[:blocks], extent(blocks), 0, self.plain)

    def within(self, size: int) -> int:
        """How many blocks lie within the first ``size`` bytes."""
        fine = min(size // FINE, FIRST)
        return min(fine + max(0, size - FINE * FIRST) // BLOCK, len(self.chain))


def extent(blocks: int) -> int:
    """How many bytes the first ``blocks`` blocks are."""
    return FINE * min(blocks, FIRST) + BLOCK * max(0, blocks - FIRST)


NOTHING: Final = Marks()


def marks(body: Mapping[str, Any], salt: bytes = b"") -> Marks:
    """The marks of a generation's body."""
    text, head, plain = _chat(body) if "messages" in body else _prompt(body)
    chain = []
    state = hashlib.blake2b(salt, digest_size=8)
    start = 0
    for count in range(1, MOST + 1):
        end = extent(count)
        if end > len(text):
            break
        state.update(text[start:end])
        chain.append(state.digest())
        start = end
    return Marks(tuple(chain), len(text), head, plain)


def _prompt(body: Mapping[str, Any]) -> tuple[bytes, int, bool]:
    prompt = body.get("prompt", body.get("input_prefix", ""))
    if isinstance(prompt, Mapping):
        return _encode(prompt), 0, False
    parts = (prompt,) if isinstance(prompt, str) else prompt
    return b"".join(_part(part) for part in parts), 0, True


def _part(part: int | str) -> bytes:
    return part.encode("utf-8", "surrogatepass") if isinstance(part, str) else array("i", (part,)).tobytes()


def _chat(body: Mapping[str, Any]) -> tuple[bytes, int, bool]:
    messages = body["messages"]
    parts = [_encode({key: body[key] for key in _SHAPE if key in body})]
    head = 0
    for number, message in enumerate(messages):
        if head == 0 and message["role"] != "system":
            head = sum(map(len, parts)) if number or "tools" in body else 0
        parts.append(_encode(message))
    return b"".join(parts), head, not any(_pictured(message["content"]) for message in messages)


def _pictured(content: Any) -> bool:
    return isinstance(content, list) and any(part["type"] != "text" for part in content)
