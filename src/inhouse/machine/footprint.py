"""How many bytes a model takes in llama.cpp, part by part. Pure formulas, each with its source.

Checked against llama.cpp's own reckoning (its fit at load, without allocating) and against the resident
size of real workers; see ``bench/predictions.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from .shape import Shape

MIB: Final = 2**20
KV_BYTES: Final[Mapping[str, float]] = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}
"""Bytes per KV cache element: a block of 32 elements has one or two scales beside them (ggml-common.h)."""
PAD: Final = 256
"""llama.cpp rounds contexts and windows up to a multiple of this (llama-kv-cache-iswa.cpp)."""
HIDDEN_COPIES: Final = 5
"""Tensors of batch x width alive beside the logits when the graph is at its widest."""
RUNTIME: Final = 35 * MIB
"""Interpreter, libraries and the engine's own state; measured with the wheel, 0.1 and 0.5 B models."""
RESTING: Final = 3 * MIB // 2
"""What of the buffers is in use before the first request."""
VOCABULARY: Final = 450
"""Bytes that the tokenizer holds per token; measured with vocabularies of 49,152 and 151,936."""
GPU_RUNTIME: Final = 400 * MIB
"""What a process takes of each GPU before the first tensor: context, kernels, a scratch pool. CUDA takes
300 to 500 MiB; not measured here."""
_F32: Final = 4
_F16: Final = 2

_REARRANGED: Final[tuple[tuple[str, frozenset[str]], ...]] = (
    ("avx2", frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})),
    ("avx512f", frozenset({"Q2_K"})),
    ("avx512", frozenset({"Q2_K"})),
    ("dotprod", frozenset({"Q4_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "MXFP4", "Q8_0"})),
    ("asimddp", frozenset({"Q4_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "MXFP4", "Q8_0"})),
    ("i8mm", frozenset({"Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0"})),
)
"""Instruction set -> tensor types that llama.cpp's CPU backend copies into a layout of its own
(ggml-cpu/repack.cpp, ``ggml_repack_get_optimal_repack_type``)."""


def padded(tokens: int) -> int:
    """Rounded up to a multiple of ``PAD``."""
    return max(PAD, -(-tokens // PAD) * PAD)


def rearranged_types(features: frozenset[str]) -> frozenset[str]:
    """The tensor types of which this processor's backend keeps a second copy."""
    found = (types for name, types in _REARRANGED if name in features)
    return frozenset().union(*found)


@dataclass(frozen=True, slots=True)
class Load:
    """How a model is to be loaded: ``context`` tokens for each of ``slots``, ``batch`` tokens in one go.

    ``mmap``: the file is mapped, not read; ``features``: the processor's instruction sets, which decide
    what is rearranged. ``extra`` bytes for adapters, a projector, a draft model; ``extra_cache``: what a
    draft model's cache takes, as a share of the model's.
    """

    context: int
    slots: int
    batch: int = 256
    k_type: str = "f16"
    v_type: str = "f16"
    mmap: bool = True
    features: frozenset[str] = frozenset()
    extra: int = 0
    extra_cache: float = 0.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. ``rearranged``: copies of weights whose originals stay mapped, though nobody reads them again;
    ``compute``: the buffers as reserved, of which ``touched`` are written to when text is generated (the
    rest is for the scores of whole batches, which only embeddings ask for); ``runtime``: what the process
    takes without a model."""

    weights: int
    rearranged: int
    kv: int
    compute: int
    touched: int
    runtime: int

    @property
    def needed(self) -> int:
        """What must be there at the worst: mapped pages of rearranged weights can go at any time."""
        return self.weights + self.kv + self.compute + self.runtime

    @property
    def at_rest(self) -> int:
        """What the process shows as resident once it is loaded and has answered nothing yet."""
        return self.resident - self.touched + RESTING

    @property
    def resident(self) -> int:
        """What the process shows as resident after its first answers."""
        return self.weights + self.rearranged + self.kv + self.touched + self.runtime


def kv_of_layer(shape: Shape, number: int, load: Load) -> int:
    """Bytes of keys, values and state that one layer keeps for all slots."""
    layer = shape.layers[number]
    cells = padded(load.context)
    if layer.window:
        cells = padded(min(load.context, layer.window + load.batch))
    row = layer.k * KV_BYTES[load.k_type] + layer.v * KV_BYTES[load.v_type]
    return (int(row * cells) + layer.state) * load.slots


def kv(shape: Shape, load: Load) -> int:
    """Bytes of the whole cache, a draft model's too."""
    own = sum(kv_of_layer(shape, n, load) for n in range(len(shape.layers)))
    return int(own * (1 + load.extra_cache))


def compute(shape: Shape, load: Load) -> tuple[int, int]:
    """Bytes of the compute buffers (reserved, touched when generating).

    Widest where the scores of the batch are made (every token of it may be asked for its embedding, so
    llama.cpp reserves scores for all): batch x vocabulary in F32, the attention mask in F16 and five
    hidden states; exact to 0.1 MiB for the models tried. Generating touches the mask, the feed-forward
    part and some hidden states; it was fitted to measured sizes, within 2 MiB.
    """
    rows = min(load.batch, padded(load.context)) if load.batch else 1
    mask = padded(load.context) * rows * _F16
    hidden = HIDDEN_COPIES * shape.width * rows * _F32
    busy = rows * _F32 * (2 * shape.feed_forward + 4 * shape.width) + mask
    scores = shape.vocabulary * _F32 if shape.generates else 0
    outputs = scores * load.slots
    reserved = max(scores * rows + mask + hidden, busy) + outputs
    return reserved, min(reserved, busy + outputs + RESTING)


def memory(shape: Shape, load: Load) -> Memory:
    """What a model takes in the main memory, all of it on the CPU."""
    types = rearranged_types(load.features)
    again = sum(size for kind, size in shape.matrices.items() if kind in types)
    if not load.mmap:
        again = 0
    reserved, touched = compute(shape, load)
    return Memory(
        weights=shape.weights + load.extra,
        rearranged=again,
        kv=kv(shape, load),
        compute=reserved,
        touched=touched,
        runtime=RUNTIME + VOCABULARY * shape.vocabulary,
    )


__all__ = [
    "KV_BYTES",
    "Load",
    "Memory",
    "compute",
    "kv",
    "kv_of_layer",
    "memory",
    "padded",
    "rearranged_types",
]
