"""How large a model becomes in another quantisation: each tensor's type by llama.cpp's own rules. Pure.

Rules from llama.cpp's ``llama-quant.cpp`` (b11434): outputs and tied embeddings get more bits, so do values,
feed-forward outputs of some layers, and rows that no block of 256 divides. Without an importance matrix.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ..machine.shape import Tensor

BLOCKS: Final = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "Q8_0": (32, 34),
    "Q5_1": (32, 24),
    "Q5_0": (32, 22),
    "Q4_1": (32, 20),
    "Q4_0": (32, 18),
    "IQ4_NL": (32, 18),
    "Q6_K": (256, 210),
    "Q5_K": (256, 176),
    "Q4_K": (256, 144),
    "Q3_K": (256, 110),
    "Q2_K": (256, 84),
    "IQ4_XS": (256, 136),
}
"""Elements of a block and its bytes."""
BASES: Final = {
    "F16": "F16",
    "Q8_0": "Q8_0",
    "Q6_K": "Q6_K",
    "Q5_K_M": "Q5_K",
    "Q5_K_S": "Q5_K",
    "Q4_K_M": "Q4_K",
    "Q4_K_S": "Q4_K",
    "IQ4_XS": "IQ4_XS",
    "Q4_1": "Q4_1",
    "Q4_0": "Q4_0",
    "Q3_K_L": "Q3_K",
    "Q3_K_M": "Q3_K",
    "Q3_K_S": "Q3_K",
    "Q2_K": "Q2_K",
}
"""The quantisations whose rules are known, most bits first, each with the type of most of its tensors."""
COMPARED: Final = tuple(kind for kind in BASES if kind not in ("Q4_1", "Q3_K_L"))
"""Those that are worth a choice."""
_FALLBACK: Final = {
    "IQ4_XS": "IQ4_NL",
    "Q2_K": "Q4_0",
    "Q3_K": "Q4_0",
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}
_KEPT: Final = (
    "ffn_gate_inp.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv",
)
"""Parts of names of matrices that stay as they are."""
_LAYER: Final = re.compile(r"blk\.(\d{1,9})(?:\.|\Z)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rules ask of a model: heads that share a value, experts, layers; whether the embedding
    serves as output."""

    groups: int = 1
    experts: int = 0
    layers: int = 1
    tied: bool = False


@dataclass
class _Counters:
    """Values and feed-forward outputs so far; the rules go by their order."""

    values: int = 0
    downs: int = 0


def _more_bits(number: int, count: int) -> bool:
    """First and last eighth, and every third between."""
    return number < count // 8 or number >= 7 * count // 8 or (number - count // 8) % 3 == 2


def bytes_of(shape: tuple[int, ...], kind: str) -> int:
    """Bytes of a tensor in a type, rows of whole blocks."""
    elements, size = BLOCKS[kind]
    return math.prod(shape) // elements * size


def _stays(tensor: Tensor) -> bool:
    """Vectors and some small matrices are never quantised."""
    matrix = len(tensor.shape) > 1 and min(tensor.shape[:2]) > 1 and tensor.name.endswith("weight")
    return not matrix or "_norm" in tensor.name or any(part in tensor.name for part in _KEPT)


def _value(kind: str, at: int, facts: Facts) -> str:
    if facts.experts == 8:
        return "Q8_0"
    wanted = _shared_value(kind, at, facts)
    # In models of 80 layers eight heads share a value: more bits for it cost next to nothing.
    large = facts.layers == 80 and facts.groups > 1
    return "Q5_K" if large and wanted in ("Q3_K", "Q4_K") else wanted


def _shared_value(kind: str, at: int, facts: Facts) -> str:
    shared = facts.groups >= 4
    if kind == "Q2_K":
        return "Q4_K" if shared else "Q3_K"
    if kind == "Q3_K_M":
        return "Q5_K" if at < 2 else "Q4_K"
    if kind == "IQ4_XS" and shared:
        return "Q5_K"
    if kind in ("Q4_K_M", "Q5_K_M") and _more_bits(at, facts.layers):
        return "Q6_K"
    return {"Q3_K_L": "Q5_K", "Q4_K_S": "Q5_K" if at < 4 else "Q4_K"}.get(kind, BASES[kind])


def _down(kind: str, at: int, facts: Facts) -> str:
    count = facts.layers
    if kind == "Q3_K_M":
        return "Q5_K" if at < count // 16 else "Q4_K"
    if kind in ("Q4_K_M", "Q5_K_M") and _more_bits(at, count):
        return "Q6_K"
    if kind in ("Q4_K_S", "IQ4_XS") and at < count // 8:
        return "Q5_K"
    return {"Q2_K": "Q3_K", "Q3_K_L": "Q5_K"}.get(kind, BASES[kind])


_OUTPUT: Final = {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K"}
_OUTPUT_OF_EIGHT: Final = frozenset({"Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ4_XS"})
_JOINED: Final = {"Q3_K_M": "Q4_K", "Q3_K_L": "Q4_K", "Q4_K_M": "Q5_K", "Q5_K_M": "Q6_K"}


def _fitting(wanted: str, width: int) -> str:
    """The type itself, or the next one whose blocks divide the rows."""
    if width % BLOCKS[wanted][0] == 0:
        return wanted
    smaller = _FALLBACK.get(wanted, "F16")
    return smaller if width % BLOCKS[smaller][0] == 0 else "F16"


def _wanted(tensor: Tensor, kind: str, facts: Facts, counted: _Counters) -> str:
    name, base = tensor.name, BASES[kind]
    if name == "output.weight" or (facts.tied and name == "token_embd.weight"):
        if tensor.shape[0] % BLOCKS[base][0]:
            return "Q8_0"
        return base if base in ("Q8_0", "F16") else "Q6_K"
    if "attn_v.weight" in name or "attn_kv_b.weight" in name:
        counted.values += 1
        return _value(kind, counted.values - 1, facts)
    if "ffn_down" in name:
        layer = _by_layer(tensor)[0]
        at = layer if facts.experts > 1 and layer >= 0 else counted.downs
        counted.downs += 1
        return _down(kind, at, facts)
    if "attn_output.weight" in name:
        if facts.experts == 8:
            return "Q5_K" if kind in _OUTPUT_OF_EIGHT else base
        return _OUTPUT.get(kind, base)
    if "attn_k.weight" in name and facts.experts == 8:
        return "Q8_0"
    return _JOINED.get(kind, base) if "attn_qkv.weight" in name else base


def _by_layer(tensor: Tensor) -> tuple[int, str]:
    match = _LAYER.match(tensor.name)
    return (int(match[1]) if match else -1, tensor.name)


def quantised(tensors: Iterable[Tensor], kind: str, facts: Facts) -> list[Tensor]:
    """The same tensors in another quantisation, one of ``BASES``."""
    out, counted = [], _Counters()
    for tensor in sorted(tensors, key=_by_layer):
        if _stays(tensor):
            out.append(tensor)
            continue
        if kind == "F16":
            wanted = "F16"
        else:
            wanted = _fitting(_wanted(tensor, kind, facts, counted), tensor.shape[0])
        out.append(Tensor(tensor.name, tensor.shape, wanted, bytes_of(tensor.shape, wanted)))
    return out


__all__ = ["BASES", "BLOCKS", "COMPARED", "Facts", "bytes_of", "quantised"]
