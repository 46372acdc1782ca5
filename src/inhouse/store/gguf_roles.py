"""The GGUF files beside a model: what kind a file is, and whether a projector, LoRA adapter or draft fits.

Keys: ``gguf-py/gguf/constants.py``; what an engine demands: ``src/llama-adapter.cpp``,
``tools/mtmd/clip.cpp`` and ``common/speculative.cpp`` of llama.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from ..core.errors import Unsupported
from .gguf import Header, Tensor, read_header
from .gguf_bytes import malformed
from .gguf_fields import MAX_LAYERS, Fields
from .gguf_model import Facts, architecture_of, inspect, metadata_of
from .gguf_parts import TensorRow

Kind = Literal["model", "projector", "adapter", "imatrix", "vocab", "other"]

DRAFT_VOCABULARY_SLACK: Final = 128
_A, _B = ".lora_a", ".lora_b"

_PROJECTOR_RANGES: Final = {
    "block_count": (0, MAX_LAYERS),
    "embedding_length": (1, 2**20),
    "feed_forward_length": (0, 2**24),
    "attention.head_count": (1, 2**16),
    "image_size": (1, 2**16),
    "patch_size": (1, 2**12),
    "projection_dim": (0, 2**20),
    "num_mel_bins": (1, 2**12),
    "spatial_merge_size": (1, 2**12),
    "projector.stack_factor": (1, 2**12),
    "projector.scale_factor": (1, 2**12),
}


class ProjectorFacts(NamedTuple):
    """``metadata`` for ``projector_info``; ``capabilities`` that it adds: vision, audio or both."""

    metadata: Mapping[str, Any]
    capabilities: tuple[str, ...]


class AdapterFacts(NamedTuple):
    """A LoRA adapter. ``rank`` is the greatest of its pairs, ``alpha`` 0 where the file has none."""

    architecture: str
    rank: int
    alpha: float
    pairs: int
    parameters: int
    metadata: Mapping[str, Any]


def kind_of(path: Path) -> Kind:
    """What a GGUF file is for; any part of a split model is a ``model``.

    Raises BadRequest when it is not a sound GGUF file, StoreError when it cannot be read.
    """
    header = read_header(path)
    values = header.values
    kind, arch = values.get("general.type", "model"), values.get("general.architecture")
    if kind == "mmproj" or arch == "clip":
        return "projector"
    if kind == "adapter":
        return "adapter"
    if kind == "imatrix" or "imatrix.datasets" in values:
        return "imatrix"
    if "split.count" in values and kind == "model":
        return "model"
    if not header.tensors:
        return "vocab" if "tokenizer.ggml.tokens" in values else "other"
    return "model" if kind == "model" and f"{arch}.block_count" in values else "other"


def inspect_projector(path: Path) -> ProjectorFacts:
    """Facts of a projector (mmproj, architecture clip).

    Raises BadRequest naming the field, Unsupported for another kind of file, StoreError.
    """
    header = read_header(path)
    fields = Fields(header)
    if architecture_of(fields) != "clip":
        raise Unsupported(
            "The GGUF file is not a projector.", hint="Give the mmproj file that was made for the model."
        )
    if not header.tensors:
        raise malformed(8, "it claims 0 tensors")
    found = tuple(name for name in ("vision", "audio") if _sees(fields, name))
    if not found:
        raise fields.refuse(
            "clip.has_vision_encoder", "is missing: it has neither a vision nor an audio part"
        )
    for name in found:
        _check_encoder(fields, f"clip.{name}")
    return ProjectorFacts(metadata_of(header), found)


def _sees(fields: Fields, name: str) -> bool:
    """Whether it has that encoder; files without the flag have the encoder's keys."""
    if f"clip.has_{name}_encoder" in fields.values:
        return fields.flag(f"clip.has_{name}_encoder")
    return f"clip.{name}.block_count" in fields.values


def _check_encoder(fields: Fields, prefix: str) -> None:
    for key, (low, high) in _PROJECTOR_RANGES.items():
        fields.ranged(f"{prefix}.{key}", low, high)
    heads = fields.numbers(f"{prefix}.attention.head_count")
    width = fields.numbers(f"{prefix}.embedding_length")
    if heads and width and width[0] % heads[0]:
        raise fields.refuse(f"{prefix}.attention.head_count", f"does not divide {width[0]}")
    for key in ("attention.layer_norm_epsilon", "image_mean"):
        fields.at_least_zero(f"{prefix}.{key}", above=False)
    fields.at_least_zero(f"{prefix}.image_std", above=True)


def inspect_adapter(path: Path, base: Facts, rows: Sequence[TensorRow] = ()) -> AdapterFacts:
    """Facts of a LoRA adapter for the model ``base``; with its table of tensors every shape is compared.

    Raises BadRequest naming the field, Unsupported when it is no adapter or made for another model,
    StoreError.
    """
    header = read_header(path)
    fields = Fields(header)
    if fields.text("general.type") != "adapter" or fields.text("adapter.type") != "lora":
        raise Unsupported(
            "The GGUF file is not a LoRA adapter.", hint="Convert it with convert_lora_to_gguf."
        )
    arch = architecture_of(fields)
    if arch != base.architecture:
        raise _unfit(f"it is made for {arch}, the model is {base.architecture}")
    alpha = fields.numbers("adapter.lora.alpha") or (0.0,)
    if len(alpha) != 1 or not math.isfinite(alpha[0]) or alpha[0] < 0:
        raise fields.refuse("adapter.lora.alpha", "is not a number from 0 up")
    pairs = _pairs(header)
    targets = {row.name: row for row in rows}
    ranks = [_rank(header, name, a, b) for name, (a, b) in pairs.items()]
    for name, (a, b) in pairs.items() if targets else ():
        _check_target(name, a, b, targets.get(name))
    return AdapterFacts(
        architecture=arch,
        rank=max(ranks),
        alpha=float(alpha[0]),
        pairs=len(pairs),
        parameters=sum(tensor.elements for tensor in header.tensors),
        metadata=metadata_of(header),
    )


def _unfit(reason: str) -> Unsupported:
    return Unsupported(
        f"The adapter does not fit the model: {reason}.", hint="Use the model that it was trained on."
    )


def _pairs(header: Header) -> dict[str, tuple[Tensor, Tensor]]:
    """The two tensors for each tensor of the model that is changed."""
    sides: dict[str, dict[str, Tensor]] = {_A: {}, _B: {}}
    for tensor in header.tensors:
        if tensor.name.endswith((_A, _B)):
            sides[tensor.name[-len(_A) :]][tensor.name[: -len(_A)]] = tensor
        elif not tensor.name.endswith("_norm.weight"):
            raise malformed(header.tensors_at, f"tensor '{tensor.name}' is not of a LoRA adapter")
    lone = sides[_A].keys() ^ sides[_B].keys()
    if lone:
        raise malformed(header.tensors_at, f"tensor '{min(lone)}' has only one of {_A} and {_B}")
    if not sides[_A]:
        raise malformed(8, "it has no LoRA tensors")
    return {name: (a, sides[_B][name]) for name, a in sides[_A].items()}


def _rank(header: Header, name: str, a: Tensor, b: Tensor) -> int:
    """The rank of a pair: what the two shapes share."""
    if len(a.shape) < 2 or len(b.shape) < 2:
        raise malformed(header.tensors_at, f"the pair of tensor '{name}' is not two matrices")
    flipped = name.endswith("token_embd.weight")
    inner = a.shape[0] if flipped else a.shape[1]
    if inner != b.shape[0] or a.shape[2:] != b.shape[2:]:
        raise malformed(header.tensors_at, f"the shapes of the pair of tensor '{name}' do not fit each other")
    return inner


def _check_target(name: str, a: Tensor, b: Tensor, target: TensorRow | None) -> None:
    if target is None:
        raise _unfit(f"the model has no tensor '{name}'")
    flipped = name.endswith("token_embd.weight")
    wanted = (b.shape[1], a.shape[1]) if flipped else (a.shape[0], b.shape[1])
    if tuple(target.shape[:2]) != wanted:
        raise _unfit(f"tensor '{name}' is {target.shape[:2]}, the adapter is for {list(wanted)}")


def inspect_draft(path: Path, base: Facts) -> Facts:
    """Facts of a draft model for ``base``: it must write the same tokens.

    Engines allow vocabularies that differ by padding, up to 128 tokens. Raises what ``inspect`` raises,
    and Unsupported when the two do not fit.
    """
    draft = inspect(path)
    if draft.pooling:
        raise _unlike("it does not generate text")
    if base.tokenizer and draft.tokenizer != base.tokenizer:
        raise _unlike(f"its tokenizer is {draft.tokenizer}, that of the model {base.tokenizer}")
    if abs(draft.vocabulary - base.vocabulary) > DRAFT_VOCABULARY_SLACK:
        raise _unlike(f"it knows {draft.vocabulary} tokens, the model {base.vocabulary}")
    return draft


def _unlike(reason: str) -> Unsupported:
    return Unsupported(
        f"The draft model does not fit the model: {reason}.",
        hint="Use a small model of the same family.",
    )
