"""Writes tiny LoRA adapters as GGUF files, without training anything.

lora(path, width=576, layers=range(30))              one that changes what smollm2 says
lora(path, width=576, layers=(0,), strength=0.0)     one of zeros, which changes nothing

An adapter adds ``alpha / rank * scale * B @ A`` to a weight. Here that is rank 1, on the output
projection of the attention, which is square in any llama of equal head and embedding width.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable
from pathlib import Path

from .tiny_gguf import Tensor, Tiny, f32, string


def lora(
    path: Path,
    *,
    width: int,
    layers: Iterable[int],
    strength: float = 1.0,
    seed: int = 0,
    architecture: str = "llama",
) -> Path:
    """Write an adapter for a model of ``width`` embedding features; ``seed`` picks its random deltas."""
    pick = random.Random(seed)
    tensors: list[Tensor] = []
    for layer in layers:
        name = f"blk.{layer}.attn_output.weight"
        down = array("f", (pick.gauss(0, 1) for _ in range(width)))
        up = array("f", (strength * pick.gauss(0, 1) for _ in range(width)))
        tensors.append(Tensor(f"{name}.lora_a", (width, 1), data=down.tobytes()))
        tensors.append(Tensor(f"{name}.lora_b", (1, width), data=up.tobytes()))
    keys = {
        "general.type": string("adapter"),
        "general.architecture": string(architecture),
        "general.name": string(f"Tiny adapter {seed}"),
        "adapter.type": string("lora"),
        "adapter.lora.alpha": f32(1.0),
    }
    return Tiny(keys, tensors).write(path)
