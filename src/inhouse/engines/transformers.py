"""Safetensors models with PyTorch and transformers: chat and embeddings, on the CPU or one GPU.

The engine lives in an environment of its own under the home, pinned by digest (``transformers.txt``); its
worker is ours (``workers.transformers``). docs/guides/safetensors.md says why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ..core.engine import Launch
from ..core.errors import BadRequest, OutOfMemory, Unsupported
from ..core.models import Card
from ..core.requests import LoadOptions
from ..machine import Gpu
from . import environments
from .child import scrubbed
from .environments import TORCH, Environment, Say, Stopped, Way, python_of, torch_for_cpu
from .recipe import Availability, Room, Settings, check_engine

NAME: Final = "transformers"
VERSION: Final = "5.23.0"
PINS: Final = Path(__file__).with_name("transformers.txt")
WORKER: Final = Path(__file__).parent / "workers" / "transformers.py"

ROCM_INDEX: Final = "https://download.pytorch.org/whl/rocm7.2"
DOWNLOAD: Final = {"cpu": 270 * 2**20, "cuda": 3200 * 2**20, "rocm": 5000 * 2**20}
INSTALLED: Final = {"cpu": 1250 * 2**20, "cuda": 7500 * 2**20, "rocm": 18000 * 2**20}
"""Bytes: measured for the CPU on Linux x86-64 (195 MiB of torch), the others by their publishers' files."""

TAKES: Final = frozenset(
    {
        "chat", "completions", "embeddings", "stream_options", "max_completion_tokens", "seed", "stop",
        "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "json_object", "json_schema",
        "structured_outputs", "token_prompts", "echo", "top_k", "min_p", "typical_p", "repetition_penalty",
        "chat_template_kwargs", "continue_final_message", "truncate_prompt_tokens", "add_special_tokens",
        "tokenize",
    }
)  # fmt: skip
"""What the worker understands: no tools (it reads no calls), no images, one answer at a time."""

OVERHEAD: Final = 600 * 2**20
"""Python with torch and transformers before any model: 430 MiB resident measured, the rest is for buffers."""

CONTEXT: Final = 8192
SMALLEST: Final = 512
SLOTS: Final = 4
"""Answers are computed in turns: more of them share the same speed."""

PROMPTS: Final = 2
"""Finished prompts that stay in memory to be continued."""

_PLAIN: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Types of weights that PyTorch computes with as they are; the bytes of each."""

_OFFLINE: Final = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def place(home: Path) -> Path:
    """Where its environment lies, if it is installed."""
    return home / "engines" / f"{NAME}-{VERSION}"


def able(home: Path, environ: Mapping[str, str]) -> Availability:
    """Whether it is installed. Starts nothing."""
    python = python_of(place(home))
    if python.is_file():
        return Availability(NAME, True, f"{VERSION} (torch {_torch(place(home))})", str(python))
    return Availability(
        NAME,
        False,
        why="the engine for safetensors models is not installed",
        fix=f"Install it (a download of about {DOWNLOAD['cpu'] // 2**20} MiB, more for GPUs):"
        " inhouse engine install transformers. Or convert the model: inhouse convert MODEL NEW-NAME",
    )


def _torch(folder: Path) -> str:
    """The version of PyTorch in an environment, by the name of its metadata."""
    found = [*folder.glob("lib/python3*/site-packages/torch-*.dist-info")]
    found += folder.glob("Lib/site-packages/torch-*.dist-info")
    return found[0].name.removeprefix("torch-").removesuffix(".dist-info") if found else "unknown"


def flavour(gpus: Sequence[Gpu]) -> str:
    """Which build of PyTorch suits the GPUs: cuda, rocm or cpu (which on a Mac computes on its GPU)."""
    vendors = {gpu.vendor for gpu in gpus}
    return "cuda" if "nvidia" in vendors else "rocm" if "amd" in vendors else "cpu"


def install(
    home: Path, heard: Say, stopped: Stopped, environ: Mapping[str, str], *, gpus: Sequence[Gpu] = ()
) -> None:
    """Put the engine into its environment, with the PyTorch that suits ``gpus``; whole or not at all.

    All packages but PyTorch itself are pinned by digest. Blocking, for minutes. Raises NoSpace, Cancelled,
    LoadFailed.
    """
    kind = flavour(gpus)
    torch: dict[str, Sequence[Way]] = {
        "cpu": [[*way, "--no-deps"] for way in torch_for_cpu()],
        "cuda": [[f"torch=={TORCH}"]],
        "rocm": [[f"torch=={TORCH}", "--index-url", ROCM_INDEX]],
    }
    wanted = Environment(
        folder=place(home),
        name="the engine for safetensors models",
        steps=(torch[kind], [["--require-hashes", "--no-deps", "-r", str(PINS)]]),
        modules=("torch", "transformers", "llguidance"),
        download=DOWNLOAD[kind],
        unpacked=INSTALLED[kind],
    )
    environments.install(wanted, heard, stopped, environ)


class Transformers:
    """Recipe. It can be asked without being installed: ``launch`` then says what is missing."""

    name = NAME
    grammars = frozenset({"gbnf", "lark"})

    def __init__(self, settings: Settings, home: Path, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._home = home
        self._environ = dict(environ)

    @property
    def build(self) -> str:
        return f"{NAME} {able(self._home, self._environ).version or VERSION}"

    @property
    def _shares(self) -> bool:
        """Whether a prompt may go on from another key's: the worker does not know whose one was."""
        return self._settings.prompt_sharing != "none"

    def cards(self) -> tuple[Card, ...]:
        """None: all models come from the store."""
        return ()

    def can(self, card: Card) -> bool:
        return card.format == "safetensors" and "rerank" not in card.capabilities

    def launch(self, card: Card, options: LoadOptions, *, room: Room, address: str, secret: str) -> Launch:
        """How to start a worker for ``card``. Raises BadRequest, OutOfMemory; Unsupported where the engine
        is not installed or the weights are of a kind that it does not compute with."""
        check_engine(card, self.name)
        found = able(self._home, self._environ)
        _check(card, found)
        plan = _Plan(card, options, self._settings, room)
        order = {
            "address": address,
            "secret": secret,
            "model": card.weights,
            "name": str(card.name),
            "task": "text" if "completion" in card.capabilities else "embedding",
            "slots": plan.slots,
            "context_length": plan.context,
            "threads": options.threads or self._settings.threads or room.cores,
            "device": "auto" if plan.gpu else "cpu",
            "dtype": plan.dtype,
            "template": card.template if card.own_template else "",
            "prompts": PROMPTS if "completion" in card.capabilities and self._shares else 0,
        }
        return Launch(
            engine=self.name,
            command=(found.path, "-I", str(WORKER)),
            address=address,
            env=scrubbed(self._environ) | _OFFLINE,
            stdin=json.dumps(order).encode() + b"\n",
            secret=secret,
            slots=plan.slots,
            context_length=plan.context,
            memory=plan.memory,
            device_memory=plan.memory - OVERHEAD if plan.gpu else 0,
            build=self.build,
            grammars=self.grammars,
            wire="openai",
            served_as=str(card.name),
            takes=TAKES,
            notices=plan.notices,
        )


def _check(card: Card, found: Availability) -> None:
    if card.format != "safetensors":
        raise BadRequest(
            "The transformers engine runs safetensors models only.",
            hint="Run the model with llama.cpp.",
            param="model",
        )
    convert = f"Convert it: inhouse convert {card.name} NEW-NAME"
    if "rerank" in card.capabilities:
        raise Unsupported("The transformers engine does not rank texts.", hint=convert, param="model")
    if card.quantization.upper() not in _PLAIN:
        raise Unsupported(
            f"The transformers engine does not compute with {card.quantization or 'unknown'} weights.",
            hint=f"Fetch the model in F16, BF16 or F32, or use vLLM on a GPU. {convert}",
            param="model",
        )
    if card.of_role("adapter"):
        raise Unsupported(
            "The transformers engine takes no adapters.", hint="Merge it into the weights.", param="model"
        )
    if not found.ok:
        raise Unsupported(
            f"The model is safetensors, and {found.why}.",
            hint=f"Install it: inhouse engine install {NAME}. Or {convert[0].lower()}{convert[1:]}",
            param="model",
        )


class _Plan:
    """Type, slots and context for the room there is. Raises OutOfMemory."""

    def __init__(self, card: Card, options: LoadOptions, settings: Settings, room: Room) -> None:
        self._card = card
        plain = _PLAIN[card.quantization.upper()]
        wanted = options.context_length or card.tuning.context_length or settings.context_length
        trained = card.context_length or CONTEXT
        self.context = min(wanted or CONTEXT, trained)
        self.slots = card.tuning.slots or settings.slots or SLOTS
        layers = options.gpu_layers if options.gpu_layers is not None else card.tuning.gpu_layers
        largest = 0 if layers == 0 else max((gpu.free or gpu.memory for gpu in room.gpus), default=0)
        self.notices: tuple[str, ...] = ()
        self.dtype, self._width = "auto", plain
        self.gpu = 0 < self._need() <= largest
        if self.gpu:
            self.memory = self._need()
            return
        if largest:
            self.notices = ("The model is computed on the CPU: it does not fit into the memory of one GPU.",)
        if plain <= 4:
            self.dtype, self._width = "float32", 4
        if self.dtype == "float32" and self._need() > room.memory and plain < 4:
            # Half as large, though a CPU without such instructions computes it more slowly.
            self.dtype, self._width = "bfloat16", 2
            self.notices += ("The model is computed in bfloat16: in float32 it does not fit.",)
        self._shrink(room.memory)
        self.memory = self._need()

    def _need(self) -> int:
        kv = self._card.footprint.kv_per_token * self._width // 2
        texts = self.slots + PROMPTS if "completion" in self._card.capabilities else 0
        return self._card.parameters * self._width + kv * self.context * texts + OVERHEAD

    def _shrink(self, room: int) -> None:
        while self._need() > room:
            if self.slots > 1:
                self.slots = (self.slots + 1) // 2
            elif self.context > SMALLEST:
                self.context = max(SMALLEST, self.context // 2)
            else:
                raise OutOfMemory(
                    f"The model '{self._card.name}' needs {self._need() >> 20} MiB of memory, "
                    f"{max(0, room) >> 20} MiB are free for models.",
                    hint="Stop another model, choose a smaller one, or convert it to GGUF and quantize it.",
                )


def find(settings: Settings, state: Path | None, environ: Mapping[str, str]) -> Availability:
    """As the registry asks for it."""
    return able(state or Path(), environ)


def make(settings: Settings, state: Path | None, environ: Mapping[str, str]) -> Transformers:
    """As the registry asks for it."""
    return Transformers(settings, state or Path(), environ)


__all__ = ["Transformers", "able", "find", "flavour", "install", "make", "place"]
