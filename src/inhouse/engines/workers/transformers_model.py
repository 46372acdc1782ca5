"""A safetensors model in memory: loaded without its own code, without pickles, without the network."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import transformers

from .transformers_pooling import Pooling

_SHORTEST_REUSE = 32
"""Tokens of a known prompt that are worth a look into the cache."""


@dataclass(frozen=True)
class Order:
    """What the worker is started with. ``address`` is a Unix socket path or ``127.0.0.1:port``; ``task`` is
    text or embedding; ``device`` auto or cpu; ``dtype`` as PyTorch names it, or auto; ``template`` replaces
    the tokenizer's own; ``prompts`` many finished prompts stay in memory to be continued."""

    address: str
    model: str
    name: str
    secret: str = ""
    task: str = "text"
    slots: int = 1
    context_length: int = 2048
    threads: int = 1
    device: str = "auto"
    dtype: str = "auto"
    template: str = ""
    prompts: int = 0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Order:
        """Raises TypeError for an unknown or missing field."""
        unknown = values.keys() - {one.name for one in fields(cls)}
        if unknown:
            raise TypeError(f"unknown field {sorted(unknown)[0]}")
        return cls(**values)


@dataclass
class Loaded:
    """Model and tokenizer, ready to compute on ``device``. ``ends``: tokens that end an answer."""

    order: Order
    model: Any
    tokenizer: Any
    device: str
    ends: frozenset[int]
    pooling: Pooling
    kept: list[tuple[list[int], Any]] = field(default_factory=list)
    """Token ids of finished answers with their caches, the newest last."""
    _grammars: Any = None
    _reading: threading.Lock = field(default_factory=threading.Lock)
    """Whether a text is cut is a setting of the tokenizer, not of the call: one thread at a time."""

    @classmethod
    def load(cls, order: Order) -> Loaded:
        """Blocking, for seconds. Raises OSError, ValueError, ImportError, RuntimeError, KeyError."""
        torch.set_num_threads(order.threads)
        transformers.utils.logging.disable_progress_bar()
        safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        kind = transformers.AutoModelForCausalLM if order.task == "text" else transformers.AutoModel
        tokenizer = transformers.AutoTokenizer.from_pretrained(order.model, **safe)
        dtype = order.dtype if order.dtype == "auto" else getattr(torch, order.dtype)
        model = kind.from_pretrained(order.model, dtype=dtype, use_safetensors=True, **safe)
        device = device_of(order.device)
        model = model.to(device).eval()
        if order.template:
            tokenizer.chat_template = order.template
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        generating = getattr(model, "generation_config", None)
        ends = _ids(getattr(generating, "eos_token_id", None)) | _ids(tokenizer.eos_token_id)
        pooling = Pooling.of(Path(order.model), generating=order.task == "text")
        return cls(order, model, tokenizer, device, ends, pooling)

    @property
    def context_length(self) -> int:
        """Tokens of prompt and answer together."""
        own = getattr(self.tokenizer, "model_max_length", 0) or 0
        longest = self.order.context_length
        return min(longest, int(own)) if 0 < own < 2**31 and self.order.task != "text" else longest

    def encode(self, text: str, *, special: bool = True, most: int | None = None) -> list[int]:
        """Token ids of a text, cut to ``most`` in the tokenizer's own way if that is given."""
        cut: dict[str, Any] = {} if most is None else {"truncation": True, "max_length": most}
        with self._reading:
            return list(self.tokenizer(text, add_special_tokens=special, verbose=False, **cut)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, without control tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def render(self, messages: list[dict[str, Any]], *, goes_on: bool, args: Mapping[str, Any]) -> str:
        """The prompt of a chat. Raises jinja2's errors, ValueError and TypeError where the template does."""
        if "chat_template" in args:
            raise ValueError("it is the model's own that is used")
        return str(
            self.tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=not goes_on,
                continue_final_message=goes_on,
                **args,
            )
        )

    def cache(self, ids: list[int], *, reuse: bool) -> tuple[Any, int]:
        """A cache for a prompt and how many of its first tokens are in it already."""
        best, known = None, 0
        for at, (before, _) in enumerate(self.kept if reuse else ()):
            same = _common(before, ids[:-1])
            if same >= max(_SHORTEST_REUSE, known + 1):
                best, known = at, same
        if best is not None:
            _, cache = self.kept.pop(best)
            if cut(cache, known):
                return cache, known
        return transformers.DynamicCache(config=self.model.config), 0

    def keep(self, ids: list[int], cache: Any) -> None:
        """A finished answer's cache, for a prompt that begins like it."""
        if self.order.prompts > 0:
            self.kept.append((ids[: cache.get_seq_length()], cache))
            del self.kept[: -self.order.prompts]

    def matcher(self, grammar: tuple[str, str]) -> Any:
        """llguidance's matcher for a grammar. Raises ImportError, ValueError."""
        import llguidance
        import llguidance.hf

        if self._grammars is None:
            width = self.model.get_output_embeddings().weight.shape[0]
            self._grammars = llguidance.hf.from_tokenizer(self.tokenizer, n_vocab=width)
        kind: Any
        kind, text = grammar
        made = llguidance.LLMatcher(self._grammars, llguidance.grammar_from(kind, text))
        if made.is_error():
            raise ValueError(made.get_error())
        return made


def device_of(wanted: str) -> str:
    """Where to compute: a GPU that PyTorch can use, else the CPU."""
    if wanted == "auto" and torch.cuda.is_available():  # AMD's cards too, in builds for them
        return "cuda"
    if wanted == "auto" and torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def cut(cache: Any, length: int) -> bool:
    """Shorten a cache to its first ``length`` tokens; False where its kind cannot be."""
    extra = cache.get_seq_length() - length
    if not all(getattr(layer, "is_croppable", False) and not layer.is_sliding for layer in cache.layers):
        return False
    if extra > 0:
        cache.crop(-extra)
    return bool(cache.get_seq_length() == length)


def _common(a: list[int], b: list[int]) -> int:
    most = min(len(a), len(b))
    return next((i for i in range(most) if a[i] != b[i]), most)


def _ids(value: Any) -> frozenset[int]:
    if value is None:
        return frozenset()
    return frozenset(value) if isinstance(value, list | tuple) else frozenset({int(value)})
