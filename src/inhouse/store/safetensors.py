"""Facts of a safetensors model from its small JSON files and the headers of its weights.

Nothing is executed: custom code (``auto_map``, ``*.py``) is never looked at, pickles are no weights.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from ..core.errors import BadRequest, StoreError, Unsupported
from ..core.json import parse
from .gguf_bytes import regular_file
from .gguf_model import TEMPLATE_CEILING, Facts, template_capabilities
from .safetensors_header import BITS, Tensor, read_shards

CONFIG_CEILING: Final = 2 * 2**20
TOKENIZER_CEILING: Final = 128 * 2**20
MAX_CONTROL_TOKENS: Final = 16_384
DEFAULT_CONTEXT: Final = 2048
F16: Final = 2

_CONTEXT: Final = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_target_positions",
)
_WIDTH: Final = ("hidden_size", "n_embd", "d_model", "dim")
_LAYERS: Final = ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers")
_HEADS: Final = ("num_attention_heads", "n_head", "num_heads", "decoder_attention_heads")
_TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt")


def inspect_folder(files: Mapping[str, Path]) -> Facts:
    """Facts of a safetensors model out of its files by relative name.

    Needs ``config.json`` and the weights; takes template and control tokens from ``chat_template.jinja``
    and ``tokenizer_config.json`` where they exist. Raises BadRequest naming file and field, Unsupported
    when something is missing, StoreError when a file cannot be read.
    """
    weights = _weights(files)
    if "config.json" not in files:
        raise Unsupported("The model has no config.json.", hint="Fetch the whole repository of the model.")
    config = _Config(_json(files, "config.json"))
    tensors = read_shards(weights)
    spoken = _json(files, "tokenizer_config.json")
    template = _template(files, spoken)
    mix = _mix(tensors)
    tokenizer = spoken.get("tokenizer_class")
    return Facts(
        architecture=config.text("model_type"),
        parameters=_parameters(tensors, config.bits),
        quantization=config.method or next(iter(mix)),
        context_length=config.whole(_CONTEXT, 2**31, _longest(spoken)),
        embedding_length=config.whole(_WIDTH, 2**20),
        block_count=config.whole(_LAYERS, 4096),
        kv_per_token=_kv_per_token(config),
        vocabulary=config.whole(("vocab_size",), 2**24),
        template=template,
        control_tokens=_control_tokens(spoken),
        capabilities=_capabilities(files, config, template),
        metadata=config.shown(),
        mix=mix,
        tokenizer=tokenizer[:80] if isinstance(tokenizer, str) else "",
        tokenizer_sha256=_tokenizer_sha256(files),
        template_sha256=hashlib.sha256(template.encode()).hexdigest() if template else "",
    )


class _Config:
    """Typed access to ``config.json``; a model of several kinds has its text part in ``text_config``."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        inner = values.get("text_config")
        self.values = values
        self.inner: Mapping[str, Any] = {**values, **inner} if isinstance(inner, dict) else values
        quantized = values.get("quantization_config")
        self._quantized: Mapping[str, Any] = quantized if isinstance(quantized, dict) else {}

    def refuse(self, key: str, reason: str) -> BadRequest:
        return BadRequest(
            f"not a usable model: '{key}' in config.json {reason}", hint="Fetch the file again."
        )

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or not 0 < len(value) <= 64 or not value.isprintable():
            raise self.refuse(key, "is missing or not a name")
        return value

    def whole(self, keys: Sequence[str], high: int, default: int | None = None) -> int:
        """The first of some keys that is there: a whole number from 1 up."""
        key = next((key for key in keys if self.inner.get(key) is not None), keys[0])
        value = self.inner.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
            raise self.refuse(key, f"is not a whole number from 1 to {high}")
        return value

    @property
    def architectures(self) -> tuple[str, ...]:
        names = self.values.get("architectures")
        if names is None:
            return ()
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self.refuse("architectures", "is not a list of names")
        return tuple(names)

    @property
    def method(self) -> str:
        """How the weights were quantized after training: AWQ, GPTQ, FP8 ... or ""."""
        value = self._quantized.get("quant_method", "")
        return value.upper()[:32] if isinstance(value, str) else ""

    @property
    def bits(self) -> int:
        """Bits of a weight that is packed into 32-bit words; 32 where nothing is packed."""
        value = self._quantized.get("bits")
        packed = isinstance(value, int) and 1 <= value <= 8 and not isinstance(value, bool)
        return value if packed and isinstance(value, int) else 32

    def shown(self) -> dict[str, Any]:
        """The plain values for display, named as in the file."""
        shown: dict[str, Any] = {}
        for key, value in self.values.items():
            if isinstance(value, str):
                shown[key[:200]] = value[:1000]
            elif isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63):
                shown[key[:200]] = value
        return dict(list(shown.items())[:200])


def _weights(files: Mapping[str, Path]) -> dict[str, Path]:
    """The weights of the model itself: at the top, and of two sets the one for transformers."""
    top = {n: p for n, p in files.items() if n.endswith(".safetensors") and "/" not in n}
    usual = {n: p for n, p in top.items() if n.startswith("model")}
    if not top:
        raise Unsupported(
            "The model has no safetensors file.",
            hint="Pickled weights (.bin, .pt) run code when they are loaded; they are never read.",
        )
    return usual or top


@contextlib.contextmanager
def _opened(files: Mapping[str, Path], name: str, ceiling: int) -> Iterator[BinaryIO]:
    try:
        with regular_file(files[name]) as (file, size):
            if size > ceiling:
                raise BadRequest(f"{name} is larger than {ceiling >> 10} KiB.", hint="Fetch it again.")
            yield file
    except OSError as error:
        raise StoreError(
            f"{name} cannot be read.", hint="Fetch the model again.", detail=str(error)
        ) from error


def _read(files: Mapping[str, Path], name: str, ceiling: int) -> bytes:
    """A small file whole; nothing where it is not among the files."""
    if name not in files:
        return b""
    with _opened(files, name, ceiling) as file:
        data = b""
        while len(data) <= ceiling and (chunk := file.read(ceiling + 1 - len(data))):
            data += chunk
        return data


def _json(files: Mapping[str, Path], name: str) -> dict[str, Any]:
    raw = _read(files, name, CONFIG_CEILING)
    if not raw:
        return {}
    try:
        return parse(raw)
    except BadRequest as error:
        reason = error.message.replace("The body", "it")
        raise BadRequest(f"not a usable model: {name}: {reason}", hint="Fetch the file again.") from error


def _template(files: Mapping[str, Path], spoken: Mapping[str, Any]) -> str:
    """The chat template: a file of its own, or in the tokenizer's settings, alone or by name."""
    own = _read(files, "chat_template.jinja", TEMPLATE_CEILING)
    if own:
        return own.decode("utf-8", "replace")
    found = spoken.get("chat_template")
    if isinstance(found, list):
        named = {t.get("name"): t.get("template") for t in found if isinstance(t, dict)}
        found = named.get("default")
    if not isinstance(found, str):
        found = _json(files, "chat_template.json").get("chat_template")
    if isinstance(found, str) and len(found) > TEMPLATE_CEILING:
        raise BadRequest("The chat template is too long.", hint="Give the model another template.")
    return found if isinstance(found, str) else ""


def _control_tokens(spoken: Mapping[str, Any]) -> tuple[str, ...]:
    added = spoken.get("added_tokens_decoder")
    entries = [e for e in added.values() if isinstance(e, dict)] if isinstance(added, dict) else []
    texts = [e["content"] for e in entries if e.get("special") is True and isinstance(e.get("content"), str)]
    if len(texts) > MAX_CONTROL_TOKENS:
        raise BadRequest("tokenizer_config.json marks too many control tokens.", hint="Fetch it again.")
    return tuple(text for text in texts if text)


def _longest(spoken: Mapping[str, Any]) -> int:
    """The context as the tokenizer has it; it writes 10^30 for unknown."""
    value = spoken.get("model_max_length")
    known = isinstance(value, int | float) and 1 <= value <= 2**24 and not isinstance(value, bool)
    return int(value) if known and value is not None else DEFAULT_CONTEXT


def _mix(tensors: Sequence[Tensor]) -> dict[str, int]:
    """Bytes of the weights by dtype, the largest share first."""
    sizes: dict[str, int] = {}
    for tensor in tensors:
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _parameters(tensors: Sequence[Tensor], bits: int) -> int:
    """Weights, unpacked: quantizers put several into one 32-bit word."""
    return sum(t.elements * (BITS[t.dtype] // bits if t.dtype == "I32" else 1) for t in tensors)


def _kv_per_token(config: _Config) -> int:
    """Bytes of f16 keys and values for one token. Raises BadRequest for heads that do not fit."""
    heads = config.whole(_HEADS, 2**16, 1)
    kv_heads = config.whole(("num_key_value_heads", "num_kv_heads"), 2**16, heads)
    width = config.whole(_WIDTH, 2**20)
    if "head_dim" not in config.inner and width % heads:
        raise config.refuse(_HEADS[0], f"does not divide {width}")
    if kv_heads > heads or heads % kv_heads:
        raise config.refuse("num_key_value_heads", f"is {kv_heads} beside {heads} heads")
    head = config.whole(("head_dim",), 2**16, max(1, width // heads))
    return config.whole(_LAYERS, 4096) * kv_heads * head * 2 * F16


def _capabilities(files: Mapping[str, Path], config: _Config, template: str) -> tuple[str, ...]:
    names = config.architectures
    if any(name.endswith("ForSequenceClassification") for name in names):
        return ("rerank",)
    if "modules.json" in files or not any("For" in name or name.endswith("LMHeadModel") for name in names):
        return ("embedding",)
    seen = tuple(
        name
        for name, key in (("vision", "vision_config"), ("audio", "audio_config"))
        if isinstance(config.values.get(key), dict)
    )
    return ("completion", *template_capabilities(template), *seen)


def _tokenizer_sha256(files: Mapping[str, Path]) -> str:
    """A digest over the files that make the tokenizer; "" when there is none."""
    digest = hashlib.sha256()
    present = [name for name in _TOKENIZER_FILES if name in files]
    for name in present:
        with _opened(files, name, TOKENIZER_CEILING) as file:
            inner = hashlib.sha256()
            while chunk := file.read(2**20):
                inner.update(chunk)
        digest.update(f"{name} {inner.hexdigest()}\n".encode())
    return digest.hexdigest() if present else ""
