"""Facts of a model, derived from a checked GGUF header; refuses what would break an engine."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from ..core.errors import Unsupported
from .gguf import TEXT_CEILING, Header
from .gguf_bytes import Numbers, Strings
from .gguf_fields import MAX_LAYERS, Fields, check_hyper_parameters
from .gguf_parts import read_model
from .gguf_types import FILE_TYPES, TENSOR_TYPES
from .gguf_vocabulary import check_vocabulary, control_tokens, tokenizer_sha256

SHOWN_ARRAY: Final = 64
SHOWN_ARRAYS: Final = 2**20
WHOLE_ARRAYS: Final = 2_000_000
"""Items of all arrays together that are shown when the whole header is asked for."""
F16: Final = 2
TEMPLATE_CEILING: Final = TEXT_CEILING
POOLINGS: Final = {0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}

_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}\Z", re.ASCII)
_TOOLS = re.compile(r"\btools?\b|tool_call")
_THINKING = re.compile(r"<think>|enable_thinking")
_FIM = ("<|fim_prefix|>", "<fim_prefix>", "<fim-prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>")
_FIM_KEYS = ("tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id")
_RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
_HIDDEN = frozenset({"general.name", "tokenizer.chat_template"})


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a manifest keeps of a model's weights, so that nobody has to open them again.

    ``kv_per_token``: bytes of f16 KV cache per token. ``mix``: bytes of the weights by tensor type.
    ``tokenizer``: its kind, as ``gpt2/qwen2``; ``tokenizer_sha256`` changes when the tokenizer does,
    ``template_sha256`` when the chat template does. ``pooling``: none, mean, cls, last or rank, "" if
    the model does not pool. ``metadata``: header keys for display, long arrays as None.
    """

    architecture: str
    parameters: int
    quantization: str
    context_length: int
    embedding_length: int
    block_count: int
    kv_per_token: int
    vocabulary: int
    template: str = ""
    control_tokens: tuple[str, ...] = ()
    licence: str = ""
    capabilities: tuple[str, ...] = ()
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    mix: dict[str, int] = msgspec.field(default_factory=dict)
    tokenizer: str = ""
    tokenizer_sha256: str = ""
    template_sha256: str = ""
    pooling: str = ""


def _kv_per_token(fields: Fields, arch: str, layers: int, width: int) -> int:
    """Bytes of f16 keys and values for one token: the sum over the layers that attend."""
    causal = f"{arch}.attention.causal"
    if arch in _RECURRENT or (causal in fields.values and not fields.flag(causal)):
        return 0
    heads = fields.per_layer(f"{arch}.attention.head_count", layers)
    kv_heads = fields.per_layer(f"{arch}.attention.head_count_kv", layers, heads)
    most = max(heads)
    if f"{arch}.attention.key_length" not in fields.values and width % most:
        raise fields.refuse(f"{arch}.attention.head_count", f"does not divide {width}")
    for n, kv in zip(heads, kv_heads, strict=True):
        if kv > n or (kv and n % kv):
            raise fields.refuse(f"{arch}.attention.head_count_kv", f"is {kv} beside {n} heads")
    head = max(1, width // most)
    key = fields.whole(f"{arch}.attention.key_length", 1, 2**16, head)
    value = fields.whole(f"{arch}.attention.value_length", 1, 2**16, head)
    return sum(kv_heads) * (key + value) * F16


def template_capabilities(template: str) -> tuple[str, ...]:
    """What a chat template allows: chat, tools, thinking; nothing without one."""
    if not template:
        return ()
    tools = ("tools",) if _TOOLS.search(template) else ()
    thinking = ("thinking",) if _THINKING.search(template) else ()
    return ("chat", *tools, *thinking)


def _capabilities(fields: Fields, template: str, pooling: str) -> tuple[str, ...]:
    if pooling:
        return ("rerank",) if pooling == "rank" else ("embedding",)
    found = ("completion", *template_capabilities(template))
    tokens = fields.values.get("tokenizer.ggml.tokens")
    known = isinstance(tokens, Strings) and any(text in tokens for text in _FIM)
    return (*found, "insert") if known or any(key in fields.values for key in _FIM_KEYS) else found


def mix_of(header: Header) -> dict[str, int]:
    """Bytes of the weights by tensor type, the largest share first."""
    sizes: dict[str, int] = {}
    for tensor in header.tensors:
        name = TENSOR_TYPES[tensor.type].name
        sizes[name] = sizes.get(name, 0) + tensor.size
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _quantization(fields: Fields, mix: Mapping[str, int]) -> str:
    """The file type's name; where it is missing or unknown, the type most of the bytes have."""
    code = fields.values.get("general.file_type")
    if isinstance(code, int) and (code & ~1024) in FILE_TYPES:
        return FILE_TYPES[code & ~1024]
    return next(iter(mix))


def _shown(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def metadata_of(header: Header) -> dict[str, Any]:
    """The header for display; nobody reads 150,000 tokens."""
    parameters = sum(tensor.elements for tensor in header.tensors)
    shown: dict[str, Any] = {"general.parameter_count": parameters}
    room = SHOWN_ARRAYS
    for key, value in header.values.items():
        if key in _HIDDEN:
            continue
        shown[key] = None if isinstance(value, Numbers | Strings) else _shown(value)
        if not isinstance(value, Numbers | Strings) or len(value) > SHOWN_ARRAY:
            continue
        room -= value.size if isinstance(value, Strings) else 8 * len(value)
        if room >= 0:
            shown[key] = _items(value)
    return shown


def whole_metadata(paths: Sequence[Path]) -> dict[str, Any]:
    """The header for display with its long arrays, read from a model's files. Megabytes."""
    header = read_model(paths)
    shown, room = metadata_of(header), WHOLE_ARRAYS
    for key, value in header.values.items():
        if isinstance(value, Numbers | Strings) and key not in _HIDDEN:
            room -= len(value)
            if room >= 0:
                shown[key] = _items(value)
    return shown


def _items(value: Numbers | Strings) -> list[Any]:
    items = value.values() if isinstance(value, Numbers) else value
    return [_shown(items[i]) for i in range(len(value))]


def _refuse_others(fields: Fields) -> None:
    kind = fields.text("general.type", "model")
    arch = fields.values.get("general.architecture")
    if kind != "model" or arch == "clip":
        what = "a projector" if arch == "clip" else f"of the type '{kind[:40]}'"
        raise Unsupported(f"The GGUF file is {what}, not a model.", hint="Give the file of the model itself.")


def architecture_of(fields: Fields) -> str:
    """``general.architecture``. Raises BadRequest when it is missing or not a name."""
    arch = fields.text("general.architecture")
    if not _ARCHITECTURE.match(arch):
        raise fields.refuse("general.architecture", "is missing or not a name")
    return arch


def facts(header: Header) -> Facts:
    """Derive the facts. Raises BadRequest naming the field, Unsupported for what is no model."""
    fields = Fields(header)
    _refuse_others(fields)
    arch = architecture_of(fields)
    layers = fields.whole(f"{arch}.block_count", 1, MAX_LAYERS)
    width = fields.whole(f"{arch}.embedding_length", 1, 2**20)
    context = fields.whole(f"{arch}.context_length", 1, 2**31)
    check_hyper_parameters(fields, arch)
    kv = _kv_per_token(fields, arch, layers, width)
    vocabulary = check_vocabulary(header, fields)
    template = fields.text("tokenizer.chat_template")
    kind, pre = fields.text("tokenizer.ggml.model"), fields.text("tokenizer.ggml.pre")
    pooling = POOLINGS.get(fields.whole(f"{arch}.pooling_type", -1, 4, -1), "")
    mix = mix_of(header)
    return Facts(
        architecture=arch,
        parameters=sum(tensor.elements for tensor in header.tensors),
        quantization=_quantization(fields, mix),
        context_length=context,
        embedding_length=width,
        block_count=layers,
        kv_per_token=kv,
        vocabulary=vocabulary,
        template=template,
        control_tokens=control_tokens(fields),
        licence=fields.text("general.license"),
        capabilities=_capabilities(fields, template, pooling),
        metadata=metadata_of(header),
        mix=mix,
        tokenizer=f"{kind}/{pre}" if pre else kind,
        tokenizer_sha256=tokenizer_sha256(header),
        template_sha256=hashlib.sha256(template.encode()).hexdigest() if template else "",
        pooling=pooling,
    )


def inspect(path: Path) -> Facts:
    """Facts of a model in one file. Raises BadRequest, Unsupported or StoreError."""
    return facts(read_model([path]))


def inspect_parts(paths: Sequence[Path]) -> Facts:
    """Facts of one model: a single file, or all the parts of a split one in order.

    Raises BadRequest, Unsupported (parts are missing, or it is no model) or StoreError.
    """
    return facts(read_model(paths))
