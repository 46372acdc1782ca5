"""Writes tiny GGUF files for tests: valid ones, and hostile ones that lie about anything.

llama().build()                                   a valid model of a few kilobytes
llama({"llama.block_count": u32(0)}).build()      a key changed
llama({"general.alignment": None}).build()        a key left out
llama(tensors=[Tensor("x", (4,), offset=999)])    other tensors
llama(tensor_count=2**63)                         a count that lies
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B"} | {
    U64: "Q",
    I64: "q",
    F64: "d",
}
BLOCKS = {0: (1, 4), 1: (1, 2), 3: (32, 20), 8: (32, 34)}
CONTROL = 3
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def text(value: str | bytes) -> bytes:
    """A length-prefixed string."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def number(kind: int, value: float) -> bytes:
    return struct.pack("<" + _CODES[kind], value)


def typed(kind: int, payload: bytes) -> bytes:
    """A value as it stands after its key: type and bytes. ``payload`` may be anything."""
    return struct.pack("<I", kind) + payload


def u32(value: int) -> bytes:
    return typed(U32, number(U32, value))


def u64(value: int) -> bytes:
    return typed(U64, number(U64, value))


def f32(value: float) -> bytes:
    return typed(F32, number(F32, value))


def flag(value: int) -> bytes:
    return typed(BOOL, number(BOOL, value))


def string(value: str | bytes) -> bytes:
    return typed(STRING, text(value))


def array(kind: int, values: Sequence[Any], *, count: int | None = None) -> bytes:
    """An array; ``count`` may lie."""
    payload = b"".join(text(v) if kind == STRING else number(kind, v) for v in values)
    return typed(ARRAY, struct.pack("<IQ", kind, len(values) if count is None else count) + payload)


@dataclass(frozen=True)
class Tensor:
    """``offset`` None puts it right after the one before; ``data`` None makes zeros of the right size."""

    name: str
    shape: tuple[int, ...]
    type: int = 0
    offset: int | None = None
    data: bytes | None = None

    @property
    def size(self) -> int:
        block, size = BLOCKS.get(self.type, (1, 0))
        return math.prod(self.shape) // block * size


@dataclass(frozen=True)
class Tiny:
    """All of a file. Counts of None are the true ones."""

    pairs: Mapping[str, bytes]
    tensors: Sequence[Tensor] = ()
    alignment: int = 32
    magic: bytes = b"GGUF"
    version: int = 3
    order: str = "<"
    pair_count: int | None = None
    tensor_count: int | None = None
    extra: bytes = b""
    """Raw key-value bytes after the pairs."""
    tail: bytes = field(default=b"")

    def build(self) -> bytes:
        out = bytearray(self.magic + struct.pack(self.order + "I", self.version))
        tensors = len(self.tensors) if self.tensor_count is None else self.tensor_count
        out += struct.pack("<QQ", tensors, len(self.pairs) if self.pair_count is None else self.pair_count)
        for key, value in self.pairs.items():
            out += text(key) + value
        out += self.extra
        data = bytearray()
        for tensor in self.tensors:
            offset = len(data) if tensor.offset is None else tensor.offset
            out += text(tensor.name) + struct.pack("<I", len(tensor.shape))
            out += struct.pack(f"<{len(tensor.shape)}Q", *tensor.shape)
            out += struct.pack("<IQ", tensor.type, offset)
            data += tensor.data if tensor.data is not None else bytes(min(tensor.size, 2**22))
            data += bytes(-len(data) % self.alignment)
        out += bytes(-len(out) % self.alignment)
        return bytes(out + data + self.tail)

    def write(self, path: Path) -> Path:
        path.write_bytes(self.build())
        return path


TOKENS = ["<unk>", "<|im_start|>", "<|im_end|>", *(f"t{i}" for i in range(13))]
TYPES = [2, CONTROL, CONTROL, *([1] * 13)]


def pairs() -> dict[str, bytes]:
    """The keys of a valid model: 2 layers of width 32, 4 heads, 2 KV heads, 16 tokens."""
    return {
        "general.architecture": string("llama"),
        "general.name": string("Tiny"),
        "general.license": string("mit"),
        "general.file_type": u32(3),
        "llama.block_count": u32(2),
        "llama.context_length": u32(256),
        "llama.embedding_length": u32(32),
        "llama.feed_forward_length": u32(64),
        "llama.attention.head_count": u32(4),
        "llama.attention.head_count_kv": u32(2),
        "llama.attention.layer_norm_rms_epsilon": f32(1e-5),
        "llama.rope.freq_base": f32(10000.0),
        "tokenizer.ggml.model": string("gpt2"),
        "tokenizer.ggml.tokens": array(STRING, TOKENS),
        "tokenizer.ggml.token_type": array(I32, TYPES),
        "tokenizer.ggml.merges": array(STRING, ["t 1", "t 2"]),
        "tokenizer.ggml.bos_token_id": u32(1),
        "tokenizer.ggml.eos_token_id": u32(2),
        "tokenizer.ggml.add_bos_token": flag(0),
        "tokenizer.chat_template": string(CHATML),
    }


TENSORS = (
    Tensor("token_embd.weight", (32, 16)),
    Tensor("blk.0.attn_q.weight", (32, 32), type=3),
    Tensor("blk.1.attn_q.weight", (32, 32), type=3),
    Tensor("output_norm.weight", (32,)),
)


def llama(changes: Mapping[str, bytes | None] | None = None, **parts: Any) -> Tiny:
    """A valid tiny model with keys changed, added or (None) left out, and other ``Tiny`` fields."""
    keys = pairs()
    for key, value in (changes or {}).items():
        if value is None:
            keys.pop(key, None)
        else:
            keys[key] = value
    return replace(Tiny(keys, TENSORS), **parts)


def model(seed: int = 0) -> bytes:
    """A valid file; another seed gives other weights, hence another digest."""
    weights = struct.pack("<I", seed) * (32 * 16)
    return llama(tensors=(Tensor("token_embd.weight", (32, 16), data=weights), *TENSORS[1:])).build()


def u16(value: int) -> bytes:
    return typed(U16, number(U16, value))


def split_keys(number: int, count: int, tensors: int) -> dict[str, bytes]:
    """The keys of one part of a split model; ``number`` from 0."""
    return {
        "split.no": u16(number),
        "split.count": u16(count),
        "split.tensors.count": typed(I32, struct.pack("<i", tensors)),
    }


def split(shares: Sequence[Sequence[Tensor]] = ((), TENSORS[:2], TENSORS[2:])) -> list[Tiny]:
    """The valid model in several parts. Only the first has its keys; it may have no tensors."""
    total = sum(map(len, shares))
    out = []
    for number, tensors in enumerate(shares):
        keys = split_keys(number, len(shares), total)
        out.append(Tiny(pairs() | keys if number == 0 else keys, tensors))
    return out


def projector(changes: Mapping[str, bytes | None] | None = None, **parts: Any) -> Tiny:
    """A valid vision projector with keys changed, added or left out."""
    keys: dict[str, bytes | None] = {
        "general.architecture": string("clip"),
        "general.type": string("mmproj"),
        "clip.has_vision_encoder": flag(1),
        "clip.projector_type": string("gemma3"),
        "clip.vision.image_size": u32(224),
        "clip.vision.patch_size": u32(14),
        "clip.vision.embedding_length": u32(32),
        "clip.vision.feed_forward_length": u32(64),
        "clip.vision.block_count": u32(1),
        "clip.vision.attention.head_count": u32(4),
        "clip.vision.attention.layer_norm_epsilon": f32(1e-6),
        "clip.vision.image_mean": array(F32, [0.5, 0.5, 0.5]),
        "clip.vision.image_std": array(F32, [0.5, 0.5, 0.5]),
        **(changes or {}),
    }
    kept = {key: value for key, value in keys.items() if value is not None}
    return replace(Tiny(kept, (Tensor("v.blk.0.attn_q.weight", (32, 32)),)), **parts)


LORA = (
    Tensor("blk.0.attn_q.weight.lora_a", (32, 4)),
    Tensor("blk.0.attn_q.weight.lora_b", (4, 32)),
    Tensor("token_embd.weight.lora_a", (4, 16)),
    Tensor("token_embd.weight.lora_b", (4, 32)),
)


def adapter(changes: Mapping[str, bytes | None] | None = None, **parts: Any) -> Tiny:
    """A valid LoRA adapter of rank 4 for the valid model."""
    keys: dict[str, bytes | None] = {
        "general.architecture": string("llama"),
        "general.type": string("adapter"),
        "adapter.type": string("lora"),
        "adapter.lora.alpha": f32(8.0),
        **(changes or {}),
    }
    kept = {key: value for key, value in keys.items() if value is not None}
    return replace(Tiny(kept, LORA), **parts)
