"""Typed access to the keys of a GGUF header, and the hyper-parameters that would break an engine."""

from __future__ import annotations

import math
from typing import Any, Final

from ..core.errors import BadRequest
from .gguf import Header
from .gguf_bytes import Numbers, malformed

WHOLE_LETTERS: Final = frozenset("BbHhIiQq")
MAX_LAYERS: Final = 4096
MAX_PER_LAYER: Final = 65_536

# What engines divide by, allocate by or index with: the ends of the key behind the architecture's name.
# Where a key may be an array (one number a layer), each number must be in the range.
_RANGES: Final[dict[str, tuple[int, int]]] = {
    "attention.indexer.head_count": (1, 2**16),
    "attention.kv_lora_rank": (0, 2**20),
    "attention.q_lora_rank": (0, 2**20),
    "attention.sliding_window": (0, 2**31),
    "decoder_block_count": (0, MAX_LAYERS),
    "embedding_length_out": (1, 2**20),
    "expert_count": (0, 4096),
    "expert_used_count": (0, 4096),
    "expert_shared_count": (0, 4096),
    "expert_group_count": (0, 4096),
    "expert_feed_forward_length": (0, 2**24),
    "feed_forward_length": (0, 2**24),
    "leading_dense_block_count": (0, MAX_LAYERS),
    "pooling_type": (-1, 4),
    "rope.dimension_count": (0, 2**16),
    "rope.scaling.original_context_length": (0, 2**31),
    "shortconv.l_cache": (1, 2**16),
    "ssm.conv_kernel": (1, 2**16),
    "ssm.group_count": (0, 2**16),
    "ssm.inner_size": (1, 2**24),
    "ssm.state_size": (1, 2**20),
    "ssm.time_step_rank": (1, 2**20),
    "vocab_size": (0, 2**24),
    "wkv.head_size": (1, 2**16),
}
_POSITIVE: Final = ("rope.freq_base", "rope.freq_base_swa", "rope.scaling.factor")
_NOT_NEGATIVE: Final = (
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    "attention.group_norm_epsilon",
)


class Fields:
    """The keys of one header; every refusal names the field and its byte."""

    def __init__(self, header: Header) -> None:
        self.values = header.values
        self.spans = header.spans

    def refuse(self, key: str, reason: str) -> BadRequest:
        """The error for a key, at the place of its value (0 where it is missing)."""
        return malformed(self.spans.get(key, (0, 0))[0], f"'{key}' {reason}")

    def text(self, key: str, default: str = "") -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.refuse(key, "is not a text")
        return value

    def whole(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number between two bounds, both allowed; without ``default`` it must be there."""
        value = self.values.get(key, default)
        if value is None:
            raise self.refuse(key, "is missing")
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(key, "is not a whole number")
        if not low <= value <= high:
            raise self.refuse(key, f"is {value}, not in {low}..{high}")
        return value

    def flag(self, key: str) -> bool:
        """True or false; false where it is missing."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.refuse(key, "is neither true nor false")
        return value

    def numbers(self, key: str) -> tuple[Any, ...]:
        """A number, or a short array of them; empty where it is missing."""
        value = self.values.get(key)
        if isinstance(value, Numbers):
            if len(value) > MAX_PER_LAYER:
                raise self.refuse(key, f"has {len(value)} numbers, too many")
            return tuple(value.values())
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise self.refuse(key, "is not a number")
        return () if value is None else (value,)

    def per_layer(self, key: str, layers: int, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A whole number for all layers, or an array with one for each."""
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, Numbers):
            return (self.whole(key, 1, 2**16),) * layers
        found = self.numbers(key) if value.letter in WHOLE_LETTERS else ()
        if len(found) < layers or not all(0 <= v <= 2**16 for v in found):
            raise self.refuse(key, f"does not give a sane number for each of {layers} layers")
        if not any(found):
            raise self.refuse(key, "is 0 in every layer")
        return found[:layers]

    def ranged(self, key: str, low: int, high: int) -> None:
        """A whole number, or an array of them, if present, must be between two bounds."""
        if isinstance(value := self.values.get(key), Numbers) and value.letter in WHOLE_LETTERS:
            if any(not low <= v <= high for v in self.numbers(key)):
                raise self.refuse(key, f"has numbers outside {low}..{high}")
        elif value is not None:
            self.whole(key, low, high)

    def at_least_zero(self, key: str, *, above: bool) -> None:
        """Numbers, if present, must be finite and not below zero, or ``above`` it."""
        for value in self.numbers(key):
            if not math.isfinite(value) or value < 0 or (above and not value):
                raise self.refuse(key, "is not a positive number")


def check_hyper_parameters(fields: Fields, arch: str) -> None:
    """Refuse numbers that lead to a division by zero, an overflow or NaN in an engine."""
    for key, (low, high) in _RANGES.items():
        fields.ranged(f"{arch}.{key}", low, high)
    for key in _POSITIVE:
        fields.at_least_zero(f"{arch}.{key}", above=True)
    for key in _NOT_NEGATIVE:
        fields.at_least_zero(f"{arch}.{key}", above=False)
    for key, value in fields.values.items():
        if not key.startswith(f"{arch}."):
            continue
        if isinstance(value, float) and not math.isfinite(value):
            raise fields.refuse(key, "is not a finite number")
        if isinstance(value, int) and not -(2**31) <= value < 2**32:
            raise fields.refuse(key, f"is {value}, more than 32 bits")
    _check_experts(fields, arch)


def _check_experts(fields: Fields, arch: str) -> None:
    most = max(fields.numbers(f"{arch}.expert_count"), default=0)
    if max(fields.numbers(f"{arch}.expert_used_count"), default=0) > most:
        raise fields.refuse(f"{arch}.expert_used_count", f"is more than the {most} experts")
    groups = max(fields.numbers(f"{arch}.expert_group_count"), default=0)
    if groups and most % groups:
        raise fields.refuse(f"{arch}.expert_group_count", f"does not divide {most} experts")
