"""What a model's header says of its size: layers, and what each keeps for every token and every request.

Rules from llama.cpp (``llama-hparams.cpp``, ``llama-kv-cache*.cpp``, ``models/*.cpp``, b11434): which
layers have a window, share another's cache, keep a recurrent state, or store one latent vector (MLA).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..core.models import Card

SWA_PATTERNS: Final = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gemma-embedding": 6,
    "gpt-oss": 2,
    "cohere2": 4,
    "exaone4": 4,
    "exaone-moe": 4,
    "olmo2": 4,
    "llama4": 4,
    "afmoe": 4,
    "plamo3": 8,
}
"""Every n-th layer sees the whole context, the others a window, where the header does not say."""
SWA_DENSE_FIRST: Final = {"cohere2moe": 4, "smallthinker": 4, "modern-bert": 3}
"""The same, the first of n layers being the one that sees it all."""
WINDOWS: Final = {"gemma2": 4096, "exaone4": 4096, "llama4": 8192}
"""Tokens of the window where the header does not say."""
NO_WINDOW: Final = frozenset({"phi3"})
"""The header names a window that llama.cpp does not use."""
SHARED_FROM: Final = {"gemma3n": 20}
"""Layers from this one on use the cache of an earlier one."""
RECURRENT: Final = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
PARALLEL: Final = frozenset({"falcon-h1"})
"""Every layer attends and has a recurrent state."""
INTERVALS: Final = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}
"""Every n-th layer attends, the others are recurrent."""
_F32: Final = 4


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a model: ``shape`` as in the file, fastest first; ``size`` in bytes."""

    name: str
    shape: tuple[int, ...]
    type: str
    size: int


@dataclass(frozen=True, slots=True)
class Layer:
    """``weights`` in bytes, of which ``experts`` are read in part only; ``k`` and ``v`` elements kept for a
    token; ``window`` tokens that are kept at most, 0 for all; ``state`` bytes for each request."""

    weights: int = 0
    experts: int = 0
    k: int = 0
    v: int = 0
    window: int = 0
    state: int = 0


@dataclass(frozen=True, slots=True)
class Shape:
    """``embedding`` and ``output`` in bytes; an ``output`` of 0 means that the embedding serves as one.

    ``matrices``: bytes, by tensor type, of what is multiplied with (an engine may hold a second, rearranged
    copy of it). ``width``, ``feed_forward`` and ``vocabulary`` count elements. ``known`` is false where
    layers and cache are guessed from totals.
    """

    architecture: str
    layers: tuple[Layer, ...]
    embedding: int = 0
    output: int = 0
    other: int = 0
    width: int = 0
    feed_forward: int = 0
    vocabulary: int = 0
    heads: int = 0
    experts: int = 0
    experts_used: int = 0
    generates: bool = True
    matrices: Mapping[str, int] = field(default_factory=dict)
    known: bool = True

    @property
    def weights(self) -> int:
        """Bytes of all tensors."""
        return sum(layer.weights for layer in self.layers) + self.embedding + self.output + self.other

    @property
    def read_per_token(self) -> int:
        """Bytes of weights that are read to make one token: of the experts only those that are asked."""
        share = self.experts_used / self.experts if self.experts else 1.0
        layers = sum(layer.weights - layer.experts * (1 - share) for layer in self.layers)
        return int(layers + (self.output or self.embedding) + self.other)


class _Header:
    """The numbers of a header, forgiving: what is missing or odd is the default."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        arch = values.get("general.architecture")
        self.arch = arch if isinstance(arch, str) else ""
        self._values = values

    def number(self, key: str, default: int = 0) -> int:
        value = self._values.get(f"{self.arch}.{key}")
        if isinstance(value, list):
            value = max((n for n in value if isinstance(n, int | float)), default=default)
        return int(value) if isinstance(value, int | float) and value >= 0 else default

    def each(self, key: str, count: int, default: int) -> list[int]:
        """One number for each layer; a single one counts for all."""
        value = self._values.get(f"{self.arch}.{key}")
        if isinstance(value, list):
            found = [int(n) for n in value if isinstance(n, int | float)]
            return [*found, *[found[-1] if found else default] * count][:count]
        return [self.number(key, default)] * count

    def denies(self, key: str) -> bool:
        return self._values.get(f"{self.arch}.{key}") is False

    def flags(self, key: str, count: int) -> list[bool] | None:
        value = self._values.get(f"{self.arch}.{key}")
        if not isinstance(value, list):
            return None
        return [bool(flag) for flag in [*value, *[False] * count][:count]]


def _windows(header: _Header, count: int) -> list[int]:
    """The window of each layer, 0 where it sees everything."""
    arch = header.arch
    window = header.number("attention.sliding_window", WINDOWS.get(arch, 0))
    named = header.flags("attention.sliding_window_pattern", count)
    if not window or arch in NO_WINDOW:
        return [0] * count
    if named is not None:
        return [window if flag else 0 for flag in named]
    dense_first = arch in SWA_DENSE_FIRST
    pattern = SWA_DENSE_FIRST.get(arch) or SWA_PATTERNS.get(arch, 0)
    pattern = header.number("attention.sliding_window_pattern", pattern)
    if not pattern and arch not in SWA_PATTERNS:
        return [0] * count
    at = 0 if dense_first else pattern - 1
    return [0 if pattern and n % pattern == at else window for n in range(count)]


def _recurrent(header: _Header, count: int, kv_heads: Sequence[int]) -> list[bool]:
    arch = header.arch
    if arch in RECURRENT or arch in PARALLEL:
        return [True] * count
    named = header.flags("attention.recurrent_layers", count)
    if named is not None:
        return named
    if arch in INTERVALS:
        interval = header.number("full_attention_interval", INTERVALS[arch]) or 1
        return [(n + 1) % interval != 0 for n in range(count)]
    has_state = header.number("ssm.inner_size") or header.number("shortconv.l_cache")
    feed = header.each("feed_forward_length", count, 0)
    # Of nemotron-h's layers without attention, those with a feed-forward part keep nothing.
    return [
        bool(has_state) and not kv_heads[n] and not (arch.startswith("nemotron_h") and feed[n])
        for n in range(count)
    ]


def _state(header: _Header, width: int) -> int:
    """Bytes of the recurrent state of one layer for one request (``n_embd_r`` and ``n_embd_s``, in F32)."""
    if head := header.number("wkv.head_size"):
        return (header.number("token_shift_count", 2) * width + width * head) * _F32
    if cache := header.number("shortconv.l_cache"):
        return width * (cache - 1) * _F32
    inner, state = header.number("ssm.inner_size"), header.number("ssm.state_size")
    kernel, groups = header.number("ssm.conv_kernel"), header.number("ssm.group_count")
    return (max(0, kernel - 1) * (inner + 2 * groups * state) + state * inner) * _F32


def _cache(header: _Header, count: int, width: int) -> list[Layer]:
    """Layers with what they keep, without their weights."""
    heads = header.each("attention.head_count", count, 1)
    kv_heads = header.each("attention.head_count_kv", count, heads[0] if heads else 1)
    head = width // max(1, max(heads, default=1))
    k, v = header.number("attention.key_length", head), header.number("attention.value_length", head)
    k_swa, v_swa = (
        header.number("attention.key_length_swa", k),
        header.number("attention.value_length_swa", v),
    )
    latent = header.number("attention.key_length_mla") and header.number("attention.kv_lora_rank")
    windows = _windows(header, count)
    recurrent = _recurrent(header, count, kv_heads)
    state = _state(header, width)
    trunk = count - header.number("nextn_predict_layers")
    shared = header.number("attention.shared_kv_layers")
    last = count - shared if shared else SHARED_FROM.get(header.arch, count)
    layers = []
    for n in range(count):
        attends = (header.arch in PARALLEL or not recurrent[n]) and not header.denies("attention.causal")
        kept = attends and n < last and n < trunk
        layers.append(
            Layer(
                k=kv_heads[n] * (k_swa if windows[n] else k) * kept,
                v=kv_heads[n] * (v_swa if windows[n] else v) * (kept and not latent),
                window=windows[n],
                state=state * (recurrent[n] and n < trunk),
            )
        )
    return layers


_EMBEDDINGS: Final = ("token_embd.weight", "per_layer_token_embd.weight")
"""Looked up, not multiplied with."""


def _is_matrix(tensor: Tensor) -> bool:
    """Whether llama.cpp multiplies with it and may rearrange it: rows in whole groups of eight."""
    rows = tensor.shape[1] if len(tensor.shape) > 1 else 0
    looked_up = tensor.name in _EMBEDDINGS or "_embd" in tensor.name or "norm" in tensor.name
    return not looked_up and rows > 0 and rows % 8 == 0 and tensor.name.endswith(".weight")


@dataclass
class _Sums:
    """Bytes of tensors by what they are for."""

    layers: dict[int, int] = field(default_factory=dict)
    experts: dict[int, int] = field(default_factory=dict)
    matrices: dict[str, int] = field(default_factory=dict)
    embedding: int = 0
    output: int = 0
    other: int = 0

    def add(self, tensor: Tensor) -> None:
        first, _, rest = tensor.name.partition(".")
        number = rest.partition(".")[0]
        if first == "blk" and number.isdigit():
            at = int(number)
            self.layers[at] = self.layers.get(at, 0) + tensor.size
            if "_exps" in tensor.name:
                self.experts[at] = self.experts.get(at, 0) + tensor.size
        elif tensor.name in _EMBEDDINGS:
            self.embedding += tensor.size
        elif tensor.name == "output.weight":
            self.output += tensor.size
        else:
            self.other += tensor.size
        if _is_matrix(tensor):
            self.matrices[tensor.type] = self.matrices.get(tensor.type, 0) + tensor.size


def shape_of(
    metadata: Mapping[str, Any],
    tensors: Iterable[Tensor],
    *,
    vocabulary: int = 0,
    generates: bool = True,
) -> Shape:
    """The shape of a model from its header: keys as in GGUF files, and its table of tensors."""
    header = _Header(metadata)
    count, width = header.number("block_count"), header.number("embedding_length")
    sums, tied = _Sums(), None
    for tensor in tensors:
        sums.add(tensor)
        if tensor.name == "token_embd.weight":
            tied = tensor
    if tied and not sums.output and generates and len(tied.shape) > 1 and tied.shape[1] % 8 == 0:
        # The embedding serves as output, too: as a matrix it may be rearranged like one.
        sums.matrices[tied.type] = sums.matrices.get(tied.type, 0) + tied.size
    layers = tuple(
        Layer(sums.layers.get(n, 0), sums.experts.get(n, 0), kept.k, kept.v, kept.window, kept.state)
        for n, kept in enumerate(_cache(header, count, width))
    )
    return Shape(
        architecture=header.arch,
        layers=layers,
        embedding=sums.embedding,
        output=sums.output,
        other=sums.other,
        width=width,
        feed_forward=header.number("feed_forward_length") or header.number("expert_feed_forward_length"),
        vocabulary=vocabulary or (tied.shape[1] if tied and len(tied.shape) > 1 else 0),
        heads=header.number("attention.head_count"),
        experts=header.number("expert_count"),
        experts_used=header.number("expert_used_count"),
        generates=generates,
        matrices=sums.matrices,
    )


def shape_of_card(card: Card, tensors: Iterable[Tensor] = ()) -> Shape:
    """The shape of a stored model; without tensors its weights are spread evenly over the layers.

    A card without a header has one layer that keeps what its footprint says.
    """
    generates = "completion" in card.capabilities
    rows = tuple(tensors)
    header = _Header(card.metadata)
    count = header.number("block_count")
    if not count:
        kept = card.footprint.kv_per_token // 4  # elements of 2 bytes, half of them keys
        layers: tuple[Layer, ...] = (Layer(card.footprint.weights, 0, kept, kept),)
        return Shape(
            card.family,
            layers,
            width=card.embedding_length,
            vocabulary=card.vocabulary,
            generates=generates,
            known=False,
        )
    shape = shape_of(card.metadata, rows, vocabulary=card.vocabulary, generates=generates)
    if rows:
        return shape
    each, rest = divmod(card.footprint.weights, count)
    even = tuple(
        Layer(each + rest * (n == 0), 0, one.k, one.v, one.window, one.state)
        for n, one in enumerate(shape.layers)
    )
    return Shape(
        architecture=shape.architecture,
        layers=even,
        width=shape.width,
        feed_forward=shape.feed_forward,
        vocabulary=shape.vocabulary,
        heads=shape.heads,
        experts=shape.experts,
        experts_used=shape.experts_used,
        generates=generates,
    )


__all__ = ["Layer", "Shape", "Tensor", "shape_of", "shape_of_card"]
