"""The shapes of well-known models, so that a plan can be made before anything is downloaded.

Numbers of the publishers' ``config.json``. A row holds if it gives exactly the parameters of the file and
about its size in its quantisation, which a test checks for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..machine.shape import Tensor
from .mixes import Facts, bytes_of, quantised


@dataclass(frozen=True, slots=True)
class Numbers:
    """``head`` elements of a head; ``window`` tokens, 0 without; ``ff`` that of one expert where there are
    ``experts``, of which ``used`` are asked for a token."""

    arch: str
    layers: int
    width: int
    ff: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    tied: bool = False
    window: int = 0
    experts: int = 0
    used: int = 0


MODELS: Final[tuple[Numbers, ...]] = (
    Numbers("llama", 32, 4096, 14336, 32, 8, 128, 128256),
    Numbers("llama", 28, 3072, 8192, 24, 8, 128, 128256, tied=True),
    Numbers("llama", 16, 2048, 8192, 32, 8, 64, 128256, tied=True),
    Numbers("llama", 80, 8192, 28672, 64, 8, 128, 128256),
    Numbers("llama", 32, 4096, 14336, 32, 8, 128, 32768),
    Numbers("llama", 40, 5120, 14336, 32, 8, 128, 131072),
    Numbers("llama", 40, 5120, 32768, 32, 8, 128, 131072),
    Numbers("llama", 30, 576, 1536, 9, 3, 64, 49152, tied=True),
    Numbers("llama", 32, 960, 2560, 15, 5, 64, 49152, tied=True),
    Numbers("llama", 24, 2048, 8192, 32, 32, 64, 49152, tied=True),
    Numbers("smollm3", 36, 2048, 11008, 16, 4, 128, 128256, tied=True),
    Numbers("qwen2", 24, 896, 4864, 14, 2, 64, 151936, tied=True),
    Numbers("qwen2", 28, 1536, 8960, 12, 2, 128, 151936, tied=True),
    Numbers("qwen2", 28, 1536, 8960, 12, 2, 128, 151936),
    Numbers("qwen2", 36, 2048, 11008, 16, 2, 128, 151936, tied=True),
    Numbers("qwen2", 28, 3584, 18944, 28, 4, 128, 152064),
    Numbers("qwen2", 48, 5120, 13824, 40, 8, 128, 152064),
    Numbers("qwen2", 64, 5120, 27648, 40, 8, 128, 152064),
    Numbers("qwen2", 80, 8192, 29568, 64, 8, 128, 152064),
    Numbers("qwen3", 28, 1024, 3072, 16, 8, 128, 151936, tied=True),
    Numbers("qwen3", 28, 2048, 6144, 16, 8, 128, 151936, tied=True),
    Numbers("qwen3", 36, 2560, 9728, 32, 8, 128, 151936, tied=True),
    Numbers("qwen3", 36, 4096, 12288, 32, 8, 128, 151936),
    Numbers("qwen3", 40, 5120, 17408, 40, 8, 128, 151936),
    Numbers("qwen3", 64, 5120, 25600, 64, 8, 128, 151936),
    Numbers("qwen3moe", 48, 2048, 768, 32, 4, 128, 151936, experts=128, used=8),
    Numbers("gemma3", 18, 640, 2048, 4, 1, 256, 262144, tied=True, window=512),
    Numbers("gemma3", 26, 1152, 6912, 4, 1, 256, 262144, tied=True, window=512),
    Numbers("gemma3", 34, 2560, 10240, 8, 4, 256, 262208, tied=True, window=1024),
    Numbers("gemma3", 48, 3840, 15360, 16, 8, 256, 262208, tied=True, window=1024),
    Numbers("gemma3", 62, 5376, 21504, 32, 16, 128, 262208, tied=True, window=1024),
    Numbers("phi3", 40, 5120, 17920, 40, 10, 128, 100352),
    Numbers("phi3", 32, 3072, 8192, 24, 8, 128, 200064, tied=True),
)

_NORMS: Final = {
    "qwen3": ("attn_q_norm", "attn_k_norm"),
    "qwen3moe": ("attn_q_norm", "attn_k_norm"),
    "gemma3": ("attn_q_norm", "attn_k_norm"),
}
_POST_NORMS: Final = frozenset({"gemma3"})


@dataclass(frozen=True, slots=True)
class Known:
    """A model as its header would tell it: ``metadata`` with GGUF's keys, ``tensors`` in 16 bits."""

    metadata: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    facts: Facts
    vocabulary: int

    @property
    def parameters(self) -> int:
        return sum(_elements(tensor) for tensor in self.tensors)


def _elements(tensor: Tensor) -> int:
    return tensor.size // (2 if tensor.type == "F16" else 4)


def _tensor(name: str, *shape: int) -> Tensor:
    kind = "F16" if len(shape) > 1 else "F32"
    return Tensor(f"{name}.weight", shape, kind, bytes_of(shape, kind))


def _attention(one: Numbers, at: str) -> list[Tensor]:
    q, kv = one.heads * one.head, one.kv_heads * one.head
    found = [_tensor(f"{at}.attn_norm", one.width), _tensor(f"{at}.attn_output", q, one.width)]
    if one.arch == "phi3":
        found.append(_tensor(f"{at}.attn_qkv", one.width, q + 2 * kv))
    else:
        found += [
            _tensor(f"{at}.attn_{part}", one.width, size) for part, size in (("q", q), ("k", kv), ("v", kv))
        ]
    if one.arch == "qwen2":
        sizes = (("q", q), ("k", kv), ("v", kv))
        found += [Tensor(f"{at}.attn_{part}.bias", (size,), "F32", 4 * size) for part, size in sizes]
    return found + [_tensor(f"{at}.{name}", one.head) for name in _NORMS.get(one.arch, ())]


def _feed_forward(one: Numbers, at: str) -> list[Tensor]:
    width, ff = one.width, one.ff
    found = [_tensor(f"{at}.ffn_norm", width)]
    if one.arch in _POST_NORMS:
        found += [_tensor(f"{at}.post_attention_norm", width), _tensor(f"{at}.post_ffw_norm", width)]
    if one.experts:
        found += [_tensor(f"{at}.ffn_{part}_exps", width, ff, one.experts) for part in ("gate", "up")]
        router = Tensor(f"{at}.ffn_gate_inp.weight", (width, one.experts), "F32", 4 * width * one.experts)
        return [*found, _tensor(f"{at}.ffn_down_exps", ff, width, one.experts), router]
    if one.arch == "phi3":
        return [*found, _tensor(f"{at}.ffn_up", width, 2 * ff), _tensor(f"{at}.ffn_down", ff, width)]
    found += [_tensor(f"{at}.ffn_{part}", width, ff) for part in ("gate", "up")]
    return [*found, _tensor(f"{at}.ffn_down", ff, width)]


def _header(one: Numbers) -> dict[str, Any]:
    values: dict[str, Any] = {
        "block_count": one.layers,
        "embedding_length": one.width,
        "feed_forward_length": one.ff,
        "attention.head_count": one.heads,
        "attention.head_count_kv": one.kv_heads,
        "attention.key_length": one.head,
        "attention.value_length": one.head,
        "attention.sliding_window": one.window,
        "expert_count": one.experts,
        "expert_used_count": one.used,
    }
    return {"general.architecture": one.arch} | {f"{one.arch}.{key}": value for key, value in values.items()}


def _built(one: Numbers) -> Known:
    tensors = [_tensor("token_embd", one.width, one.vocabulary), _tensor("output_norm", one.width)]
    if not one.tied:
        tensors.append(_tensor("output", one.width, one.vocabulary))
    for number in range(one.layers):
        tensors += _attention(one, f"blk.{number}") + _feed_forward(one, f"blk.{number}")
    facts = Facts(one.heads // one.kv_heads, one.experts, one.layers, one.tied)
    return Known(_header(one), tuple(tensors), facts, one.vocabulary)


def _count(one: Numbers) -> int:
    """Parameters, without building the tensors of all layers."""
    layer = sum(_elements(tensor) for tensor in _attention(one, "blk.0") + _feed_forward(one, "blk.0"))
    return one.vocabulary * one.width * (1 if one.tied else 2) + one.width + one.layers * layer


def find(parameters: int) -> Known | None:
    """The model with exactly so many parameters."""
    return next((_built(one) for one in MODELS if _count(one) == parameters), None) if parameters else None


def nearest(known: Known, kind: str, size: int) -> tuple[Tensor, ...]:
    """The tensors in the quantisation ``kind``, and with an output of its own if that is nearer to a file of
    ``size`` bytes: some publishers write a tied embedding twice."""
    plain = tuple(quantised(known.tensors, kind, known.facts))
    if not known.facts.tied:
        return plain
    first = next(tensor for tensor in known.tensors if tensor.name == "token_embd.weight")
    apart = Facts(known.facts.groups, known.facts.experts, known.facts.layers)
    twice = quantised((*known.tensors, Tensor("output.weight", first.shape, "F16", first.size)), kind, apart)
    return min(plain, tuple(twice), key=lambda some: abs(sum(tensor.size for tensor in some) - size))


__all__ = ["Known", "find", "nearest"]
