"""Facts of a model, derived from a checked GGUF header; refuses what would break an engine."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from ..core.errors import BadRequest, Unsupported
from .gguf import Header, read_header
from .gguf_bytes import Skipped, Strings, malformed
from .gguf_types import FILE_TYPES, TENSOR_TYPES

CONTROL: Final = 3
NO_TOKEN: Final = 2**32 - 1
MAX_CONTROL_TOKENS: Final = 16_384
SHOWN_ARRAY: Final = 64
F16: Final = 2

_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}\Z", re.ASCII)
_TOOLS = re.compile(r"\btools?\b|tool_call")
_THINKING = re.compile(r"<think>|enable_thinking")
_FIM = ("<|fim_prefix|>", "<fim_prefix>", "<fim-prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>")
_FIM_KEYS = ("tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id")
_RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
_HIDDEN = frozenset({"general.name", "tokenizer.chat_template"})


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a manifest keeps of a weights file, so that nobody has to open it again.

    ``kv_per_token``: bytes of f16 KV cache per token. ``metadata``: header keys for display,
    long arrays as None.
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


class _Fields:
    """Typed access to the keys of one header; every refusal names the field and its byte."""

    def __init__(self, header: Header) -> None:
        self.values = header.values
        self.places = header.places

    def refuse(self, key: str, reason: str) -> BadRequest:
        return malformed(self.places.get(key, 0), f"'{key}' {reason}")

    def text(self, key: str, default: str = "") -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.refuse(key, "is not a text")
        return value

    def whole(self, key: str, low: int, high: int, default: int | None = None) -> int:
        value = self.values.get(key, default)
        if value is None:
            raise self.refuse(key, "is missing")
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(key, "is not a whole number")
        if not low <= value <= high:
            raise self.refuse(key, f"is {value}, not in {low}..{high}")
        return value

    def per_layer(self, key: str, layers: int, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A whole number for all layers, or an array with one for each."""
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, array):
            return (self.whole(key, 1, 2**16),) * layers
        if len(value) < layers or value.typecode in "fd" or not all(0 <= v <= 2**16 for v in value):
            raise self.refuse(key, f"does not give a sane number for each of {layers} layers")
        if not any(value):
            raise self.refuse(key, "is 0 in every layer")
        return tuple(value[:layers])

    def positive(self, key: str) -> None:
        """A number, if present, must be finite and above zero."""
        value = self.values.get(key)
        if value is None:
            return
        if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise self.refuse(key, "is not a positive number")


def _kv_per_token(fields: _Fields, arch: str, layers: int, width: int) -> int:
    """Bytes of f16 keys and values for one token: the sum over the layers that attend."""
    if arch in _RECURRENT or fields.values.get(f"{arch}.attention.causal") is False:
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


def _vocabulary(header: Header, fields: _Fields) -> int:
    tokens = fields.values.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, Strings) or not len(tokens):
        raise fields.refuse("tokenizer.ggml.tokens", "is missing: the file has no vocabulary")
    types = fields.values.get("tokenizer.ggml.token_type")
    if isinstance(types, array) and len(types) != len(tokens):
        raise fields.refuse("tokenizer.ggml.token_type", f"has {len(types)} entries for {len(tokens)} tokens")
    for key, value in fields.values.items():
        if key.startswith("tokenizer.ggml.") and key.endswith("_token_id") and value != NO_TOKEN:
            fields.whole(key, -1, len(tokens) - 1)
    rows = next((t.shape[-1] for t in header.tensors if t.name == "token_embd.weight"), None)
    if rows is not None and rows != len(tokens):
        raise fields.refuse("tokenizer.ggml.tokens", f"has {len(tokens)} tokens for {rows} embedding rows")
    return len(tokens)


def _control_tokens(fields: _Fields) -> tuple[str, ...]:
    tokens = fields.values["tokenizer.ggml.tokens"]
    types = fields.values.get("tokenizer.ggml.token_type")
    if not isinstance(tokens, Strings) or not isinstance(types, array):
        return ()
    texts = [tokens[i] for i, kind in enumerate(types) if kind == CONTROL][: MAX_CONTROL_TOKENS + 1]
    if len(texts) > MAX_CONTROL_TOKENS:
        raise fields.refuse("tokenizer.ggml.token_type", "marks too many control tokens")
    return tuple(text for text in texts if text)


def _capabilities(fields: _Fields, arch: str, template: str) -> tuple[str, ...]:
    if f"{arch}.pooling_type" in fields.values:
        return ("embedding",)
    found = ["completion"]
    if template:
        found.append("chat")
        found += ["tools"] if _TOOLS.search(template) else []
        found += ["thinking"] if _THINKING.search(template) else []
    tokens = fields.values.get("tokenizer.ggml.tokens")
    known = isinstance(tokens, Strings) and any(text in tokens for text in _FIM)
    if known or any(key in fields.values for key in _FIM_KEYS):
        found.append("insert")
    return tuple(found)


def _quantization(header: Header, fields: _Fields) -> str:
    """The file type's name; where it is missing or unknown, the type most of the bytes have."""
    code = fields.values.get("general.file_type")
    if isinstance(code, int) and (code & ~1024) in FILE_TYPES:
        return FILE_TYPES[code & ~1024]
    sizes: dict[int, int] = {}
    for tensor in header.tensors:
        sizes[tensor.type] = sizes.get(tensor.type, 0) + tensor.size
    return TENSOR_TYPES[max(sizes, key=lambda kind: sizes[kind])].name


def _metadata(values: Mapping[str, Any], parameters: int) -> dict[str, Any]:
    """The header for display; JSON has no NaN and nobody reads 150,000 tokens."""
    shown: dict[str, Any] = {"general.parameter_count": parameters}
    for key, value in values.items():
        if key in _HIDDEN:
            continue
        if isinstance(value, Skipped):
            value = None
        elif isinstance(value, Strings | array):
            value = [value[i] for i in range(len(value))] if len(value) <= SHOWN_ARRAY else None
        shown[key] = None if isinstance(value, float) and not math.isfinite(value) else value
    return shown


def _refuse_parts(fields: _Fields) -> None:
    kind = fields.text("general.type", "model")
    arch = fields.values.get("general.architecture")
    if kind != "model" or arch == "clip":
        what = "a projector" if arch == "clip" else f"of the type '{kind[:40]}'"
        raise Unsupported(f"The GGUF file is {what}, not a model.", hint="Give the file of the model itself.")
    if fields.whole("split.count", 0, 2**16, 0) > 1:
        raise Unsupported("The GGUF file is one part of a split model.", hint="Join the parts first.")


def facts(header: Header) -> Facts:
    """Derive the facts. Raises BadRequest naming the field, Unsupported for what is no model."""
    fields = _Fields(header)
    _refuse_parts(fields)
    arch = fields.text("general.architecture")
    if not _ARCHITECTURE.match(arch):
        raise fields.refuse("general.architecture", "is missing or not a name")
    layers = fields.whole(f"{arch}.block_count", 1, 4096)
    width = fields.whole(f"{arch}.embedding_length", 1, 2**20)
    context = fields.whole(f"{arch}.context_length", 1, 2**31)
    for key in ("rope.freq_base", "rope.scaling.factor"):
        fields.positive(f"{arch}.{key}")
    kv = _kv_per_token(fields, arch, layers, width)
    vocabulary = _vocabulary(header, fields)
    template = fields.text("tokenizer.chat_template")
    parameters = sum(t.elements for t in header.tensors)
    return Facts(
        architecture=arch,
        parameters=parameters,
        quantization=_quantization(header, fields),
        context_length=context,
        embedding_length=width,
        block_count=layers,
        kv_per_token=kv,
        vocabulary=vocabulary,
        template=template,
        control_tokens=_control_tokens(fields),
        licence=fields.text("general.license"),
        capabilities=_capabilities(fields, arch, template),
        metadata=_metadata(header.values, parameters),
    )


def inspect(path: Path) -> Facts:
    """Facts of a file. Raises BadRequest, Unsupported or StoreError."""
    return facts(read_header(path))
