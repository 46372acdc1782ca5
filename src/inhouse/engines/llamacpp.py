"""llama.cpp, through the xllamacpp wheel or a native llama-server: one recipe, one wire.

The parent never imports the wheel: it only asks the package metadata.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..core.engine import Launch
from ..core.errors import BadRequest
from ..core.models import Card
from ..core.requests import LoadOptions
from ..machine import fit
from . import native, prefixes, speculation
from .child import HUGE_PAGES, scrubbed
from .kernels import REPORT, SWITCH, Kernels
from .recipe import Availability, Room, Settings, check_engine

WHEEL: Final = "xllamacpp"

PAD: Final = 256
"""llama.cpp rounds the context of a slot up to a multiple of this."""

IMAGE_BATCH: Final = 512
"""Some vision models attend to all parts of an image at once, so one must fit into one batch; 512 is
llama.cpp's own default, Gemma 3's images have 256 tokens."""

DRAFT_TOKENS: Final = 4
"""Guesses of a draft model in one go; Ollama's default of ``draft_num_predict``."""

_MIB: Final = 2**20

PLENTY: Final = 0.6
"""Share of the memory for models up to which a model is small."""

RUNAWAY = 4 * 2**30
"""Bytes beyond twice the plan that a worker may take before it is stopped."""


def wheel() -> Availability:
    """The xllamacpp wheel, as the package metadata tells; nothing of it is imported."""
    try:
        return Availability("wheel", True, importlib.metadata.version(WHEEL))
    except importlib.metadata.PackageNotFoundError:
        return Availability(
            "wheel",
            False,
            why="the package xllamacpp is not installed",
            fix="Reinstall Inhouse for a platform with an xllamacpp wheel, or install llama.cpp.",
        )


def batch_size(card: Card, room: Room) -> int:
    """Prompt tokens computed in one go.

    A cancel and the other streams wait for the end of a batch, so it should take about a second at
    most; on a CPU a small one costs little (0.5B on 2 cores with AVX-512: 128 is 7 % slower than 512,
    256 is as fast; 1.5B: 64 is 8 % slower, 128 5 %, 256 3 %).
    """
    billions_per_core = card.parameters / 1e9 / max(room.cores, 1)
    if billions_per_core < 0.35:
        return 256
    return 128 if billions_per_core < 1 else 64


class LlamaCpp:
    """Recipe for one found llama.cpp (``Availability.name`` says which kind); with ``kernels`` where they are
    on, which the version of ``found`` then tells."""

    def __init__(
        self,
        settings: Settings,
        found: Availability,
        environ: Mapping[str, str],
        kernels: Kernels | None = None,
    ) -> None:
        self._settings = settings
        self._found = found
        self._environ = dict(environ)
        self._kernels = kernels or Kernels()

    @property
    def name(self) -> str:
        return f"llama.cpp ({self._found.name})"

    @property
    def build(self) -> str:
        return f"{WHEEL if self._found.name == 'wheel' else native.NATIVE} {self._found.version}"

    @property
    def grammars(self) -> frozenset[str]:
        """The wheel has llguidance; a native build aborts when asked for it, so it is not asked."""
        return frozenset({"gbnf", "lark"} if self._found.name == "wheel" else {"gbnf"})

    def cards(self) -> tuple[Card, ...]:
        """None: all models come from the store."""
        return ()

    def can(self, card: Card) -> bool:
        """GGUF models."""
        return card.format == "gguf"

    def launch(self, card: Card, options: LoadOptions, *, room: Room, address: str, secret: str) -> Launch:
        """How to start a worker for ``card``; context and slots are fitted to ``room``.

        What the request asks for comes before the model's tuning, and that before the settings.
        Raises BadRequest, OutOfMemory; LoadFailed where this build cannot do what the model needs.
        """
        _check_format(card)
        check_engine(card, self._found.name)
        settings, tuning = self._settings, card.tuning
        tuned = room.tuned
        kv_type = tuning.kv_cache_type or tuned.kv_cache_type or settings.kv_cache_type
        plan = fit.plan(
            card,
            memory=room.memory,
            wanted_context=options.context_length or tuning.context_length or settings.context_length,
            wanted_slots=tuning.slots or settings.slots or tuned.slots or 0,
            load=load_of(card, kv_type, _batch(card, options, room)),
        )
        cache = _prompt_cache(card, settings, room.memory - plan.memory)
        packed = self._kernels.on
        mapped = _mapped(options, room, plan.memory, packed=packed)
        order = {
            "model": card.weights,
            "address": address,
            "secret": secret,
            "slots": plan.slots,
            "context_length": _engine_context(card, plan.context_length),
            "threads": options.threads or tuning.threads or settings.threads or tuned.threads or room.cores,
            "kv_cache_type": kv_type,
            "flash_attention": tuned.flash_attention,
            "gpu_layers": next((n for n in (options.gpu_layers, tuning.gpu_layers) if n is not None), -1),
            "mmap": mapped,
            # The plan is an estimate: the limit only stops what runs away. The wheel computes on the CPU.
            "memory_limit": 2 * plan.memory + cache + RUNAWAY,
            "cache_ram_mib": cache // _MIB,
        }
        order |= _compute(card, options, room, plan.context_length) | _parts(card)
        choice, notices = self._guesses(card, options, room)
        order |= choice.order(plan.slots)
        order["prefixes"] = saved = self._prefixes(room.prefixes, card, order)
        worker = "native" if self._found.name == "native" else "llamacpp"
        order["kernels"] = self._kernels.library if packed else ""
        if worker == "native":
            order = self._native_order(order)
        env = self._env(address)
        return Launch(
            engine="llama.cpp",
            command=(sys.executable, "-P", "-m", f"{__package__}.workers.{worker}"),
            address=address,
            env=env | (HUGE_PAGES if room.huge_pages == "madvise" and (packed or not mapped) else {}),
            stdin=json.dumps(order).encode() + b"\n",
            secret=secret,
            slots=plan.slots,
            context_length=plan.context_length,
            memory=plan.memory + cache,
            growth=cache,
            build=self.build,
            grammars=self.grammars,
            adapters=tuple(file.digest for file in card.of_role("adapter")),
            prefixes=saved,
            speculative=choice.mode,
            notices=notices,
            kernels=env.get(REPORT, ""),
        )

    def _env(self, address: str) -> dict[str, str]:
        off = {SWITCH: "off"} if self._settings.kernels == "off" else {}
        native = self._found.name == "native"
        return scrubbed(self._environ) | off | self._kernels.env(address, native=native)

    def _guesses(
        self, card: Card, options: LoadOptions, room: Room
    ) -> tuple[speculation.Choice, tuple[str, ...]]:
        """How tokens are guessed, and what a person should know of that."""
        if options.unguessed:
            return speculation.Choice(), ()
        found, tuned = self._found, room.tuned
        parts = _parts(card)
        choice = speculation.choose(
            card,
            self._settings.speculative,
            own=card.tuning.speculative,
            tuned=tuned.speculative,
            draft=parts["draft"],
            tokens=tuned.draft_tokens or parts["draft_tokens"],
        )
        if found.name != "native":
            return choice, ()
        asked = {card.tuning.speculative, self._settings.speculative} - {"", speculation.AUTO}
        return speculation.within(choice, native.known_flags(Path(found.path)), asked=bool(asked))

    def _prefixes(self, root: str, card: Card, order: Mapping[str, Any]) -> str:
        """The folder of saved prompts; "" where this build can save none."""
        found = self._found
        if found.name == "native" and native.SAVES not in native.known_flags(Path(found.path)):
            return ""
        return prefixes.folder(root, card, order, kind=found.name, build=self.build)

    def _native_order(self, order: dict[str, Any]) -> dict[str, Any]:
        path = Path(self._found.path)
        return {
            "command": [str(path), *native.arguments(order, native.known_flags(path))],
            "address": order["address"],
            "secret": order["secret"],
            "template": order["template"],
        }


def _check_format(card: Card) -> None:
    if card.format == "gguf":
        return
    if card.format == "safetensors":
        raise BadRequest(
            "llama.cpp runs GGUF models only, and this one is safetensors.",
            hint=f"Convert it first: inhouse convert {card.name} NEW-NAME",
            param="model",
        )
    raise BadRequest("llama.cpp runs GGUF models only.", hint="Pull the model as a GGUF file.", param="model")


def _prompt_cache(card: Card, settings: Settings, free: int) -> int:
    """Bytes, in whole MiB, for prompts that lost their slot: context and slots come first.

    The engine's cache does not tell whose a prompt was, nor how much of which adapters it was read with:
    none where that matters.
    """
    mixed = card.of_role("adapter")  # even of a single one each request may want as much as it likes
    if "completion" not in card.capabilities or settings.prompt_sharing == "none" or mixed:
        return 0
    return max(0, min(settings.prompt_cache, free)) // _MIB * _MIB


def padded(context_length: int) -> int:
    """The context of a slot as llama.cpp makes it: whole multiples of ``PAD``."""
    return max(PAD, -(-context_length // PAD) * PAD)


def _engine_context(card: Card, context_length: int) -> int:
    """The engine takes prompts shorter than its context only, which an embedding may fill."""
    return padded(context_length if "completion" in card.capabilities else context_length + 1)


def _mapped(options: LoadOptions, room: Room, needed: int, *, packed: bool) -> bool:
    """Whether the weights are mapped instead of read: what is mapped has small pages, but may leave the
    memory when others need it, so weights are read only where there is plenty. Our kernels have weights
    ``packed`` in memory of their own, with large pages, and give back what is mapped as they go: that saves
    a copy of each (0.5B: 0.9 and 1.3 s to load, 537 and 529 MiB)."""
    for asked in (options.use_mmap, room.tuned.mmap):
        if asked is not None:
            return asked
    if packed:
        return True
    return room.huge_pages not in ("always", "madvise") or bool(room.gpus) or needed > PLENTY * room.memory


def _batch(card: Card, options: LoadOptions, room: Room) -> int:
    batch = min(max(options.batch or room.tuned.batch or batch_size(card, room), 32), 4096)
    return max(batch, IMAGE_BATCH) if card.of_role("projector") else batch


def _compute(card: Card, options: LoadOptions, room: Room, context_length: int) -> dict[str, Any]:
    """Batch and pooling.

    Embeddings are always on: it costs a generating model nothing until used (measured: same
    prefill, decode and memory). A generating model whose file names no pooling gets the last
    token's vector, which may be computed in batches; a mean would need the whole input in one
    batch, whose logits take gigabytes. A model made for embeddings needs its input in one batch; so
    does a reranking one, whose pooling must be named: the engine opens /rerank by that alone.
    """
    batch = _batch(card, options, room)
    if "completion" in card.capabilities:
        return {"batch": batch, "pooling": "last"}
    pooling = "rank" if "rerank" in card.capabilities else ""
    return {"batch": max(batch, _engine_context(card, context_length)), "pooling": pooling}


def _draft_tokens(card: Card) -> int:
    wanted = card.defaults.get("draft_num_predict", DRAFT_TOKENS)
    return wanted if isinstance(wanted, int) and wanted >= 0 else DRAFT_TOKENS


def _parts(card: Card) -> dict[str, Any]:
    """What the model is made of beside its weights. No guesses means no draft model."""
    projector = next((file.path for file in card.of_role("projector")), "")
    tokens = _draft_tokens(card)
    draft = next((file.path for file in card.of_role("draft")), "") if tokens else ""
    return {
        "adapters": [[file.path, file.scale] for file in card.of_role("adapter")],
        "projector": projector,
        "draft": draft,
        "draft_tokens": tokens,
        "template": card.template if card.own_template else "",
    }


def load_of(card: Card, kv_type: str, batch: int) -> fit.Load:
    """What the plan has to know of the load beside context and slots.

    A draft model has a KV cache too, whose size its file alone does not tell: it is taken to be to the
    model's as the files are.
    """
    extra = sum(file.size for role in ("adapter", "projector", "draft") for file in card.of_role(role))
    drafted = sum(file.size for file in card.of_role("draft"))
    return fit.Load(
        context=0,
        slots=0,
        batch=batch,
        k_type=kv_type,
        v_type=kv_type,
        extra=extra,
        extra_cache=drafted / max(card.footprint.weights, 1),
    )
