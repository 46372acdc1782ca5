"""Servers of others on OpenAI's wire: how one is started, and how much of the GPUs it may take."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..core.errors import OutOfMemory, Unsupported
from ..core.models import Card
from ..core.requests import LoadOptions
from .child import scrubbed
from .environments import python_of
from .recipe import Availability, Room, Settings, check_engine

CONTEXT: Final = 8192
SMALLEST: Final = 1024
GPU_SLOTS: Final = 32
MOST_OF_A_GPU: Final = 0.92
"""Share of a GPU's memory: drivers and the desktop need the rest."""

OVERHEAD: Final = 3 * 2**30
"""Bytes of a GPU beside weights and KV cache: activations, graphs, the library's own."""

PROCESS: Final = 3 * 2**30
"""Bytes of the machine's own memory that such a server takes."""

TOOL_PARSERS: Final[dict[str, dict[str, str]]] = {
    "vllm": {"qwen2": "hermes", "qwen3": "hermes", "llama": "llama3_json", "mistral": "mistral"},
    "sglang": {"qwen2": "qwen25", "qwen3": "qwen25", "llama": "llama3", "mistral": "mistral"},
}
"""How models of a family write calls, by the servers' own names for it."""

TOOL_FEATURES: Final = frozenset({"tools", "tool_choice", "parallel_tool_calls"})


@dataclass(frozen=True, slots=True)
class Server:
    """What is started: ``command`` and ``env`` are whole but for the scrubbed environment below them;
    ``files`` are written privately, {file:NAME} in the command is the path of one."""

    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def launch(self, environ: Mapping[str, str]) -> dict[str, object]:
        """The fields of a Launch: our supervisor, and its order."""
        env = scrubbed(environ)
        own = {name: value for name, value in env.items() if name != "PYTHONPATH"} | dict(self.env)
        order = {"command": list(self.command), "env": own, "files": dict(self.files)}
        return {
            "command": (sys.executable, "-P", "-m", f"{__package__}.workers.command"),
            "env": env,
            "stdin": json.dumps(order).encode() + b"\n",
        }


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def new_key() -> str:
    """A bearer key that nobody else knows."""
    return secrets.token_hex(32)


def find(name: str, title: str, home: Path | None, environ: Mapping[str, str]) -> Availability:
    """Whether the command ``name`` is in an environment under the home, or on PATH. Starts nothing: such
    servers take many seconds to tell their version."""
    own = python_of((home or Path()) / "engines" / name).with_name(name)
    path = str(own) if own.is_file() else shutil.which(name, path=environ.get("PATH", "")) or ""
    if path:
        return Availability(name, True, path=path)
    return Availability(
        name,
        False,
        why=f"no {name} command is on PATH",
        fix=f"Install {title} into a Python environment and put its bin folder on PATH (GPU machines).",
    )


class GpuRecipe:
    """What recipes of such servers have in common; ``name`` is the command, ``title`` for people."""

    name: str
    title: str

    def __init__(self, settings: Settings, home: Path, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._home = home
        self._environ = dict(environ)

    @property
    def build(self) -> str:
        return self.name

    def cards(self) -> tuple[Card, ...]:
        """None: all models come from the store."""
        return ()

    def can(self, card: Card) -> bool:
        """Safetensors models, but for reranking ones."""
        return card.format == "safetensors" and "rerank" not in card.capabilities

    def program(self, card: Card) -> str:
        """The command's path. Raises BadRequest if the model wants another engine, Unsupported if it is
        not installed."""
        check_engine(card, self.name)
        found = find(self.name, self.title, self._home, self._environ)
        if not found.ok:
            raise Unsupported(
                f"The model asks for {self.title}, but {found.why}.", hint=found.fix, param="model"
            )
        return found.path

    def parser(self, card: Card) -> str | None:
        """The server's own name for how a model writes calls; None if it calls no tools there."""
        return TOOL_PARSERS[self.name].get(card.family) if "tools" in card.capabilities else None


@dataclass(frozen=True, slots=True)
class GpuPlan:
    """``devices`` GPUs side by side, ``fraction`` of each one's memory; ``slots`` of ``context`` tokens.
    ``memory`` and ``device_memory`` as in ``Launch``."""

    devices: int
    fraction: float
    context: int
    slots: int
    memory: int
    device_memory: int


def gpu_plan(card: Card, options: LoadOptions, settings: Settings, room: Room, name: str) -> GpuPlan:
    """How a model is spread over GPUs of one maker: over as few as hold it, a power of two of them.

    The KV cache is one pool for all slots. Raises Unsupported without GPUs, OutOfMemory.
    """
    makers = [gpu.vendor for gpu in room.gpus if gpu.memory and not gpu.shared]
    gpus = [gpu for gpu in room.gpus if makers and gpu.vendor == makers[0] and gpu.memory]
    if not gpus:
        raise Unsupported(
            f"{name} runs models on GPUs, and none was found here.",
            hint="See inhouse doctor. Without a GPU: inhouse engine install transformers.",
            param="model",
        )
    wanted = options.context_length or card.tuning.context_length or settings.context_length or CONTEXT
    context = min(wanted, card.context_length or wanted)
    slots = card.tuning.slots or settings.slots or GPU_SLOTS
    smallest = min(gpu.memory for gpu in gpus)
    usable = min((gpu.free or gpu.memory) / gpu.memory for gpu in gpus)
    share = min(MOST_OF_A_GPU, usable)
    least = card.footprint.weights + card.footprint.kv_per_token * min(context, SMALLEST)
    devices = 1
    while devices * (smallest * share - OVERHEAD) < least:
        devices *= 2
        if devices > len(gpus):
            raise OutOfMemory(
                f"The model '{card.name}' needs {least >> 20} MiB of GPU memory, "
                f"{int(len(gpus) * smallest * share) >> 20} MiB are free.",
                hint="Choose a smaller or a quantized model, or run it with llama.cpp.",
            )
    room_for_kv = devices * (smallest * share - OVERHEAD) - card.footprint.weights
    while card.footprint.kv_per_token * context > room_for_kv and context > SMALLEST:
        context = max(SMALLEST, context // 2)
    wanted_bytes = card.footprint.weights + card.footprint.kv_per_token * context * slots
    fraction = min(share, (wanted_bytes / devices + OVERHEAD) / smallest)
    fraction = max(0.05, -(-fraction * 100 // 1) / 100)
    return GpuPlan(devices, fraction, context, slots, PROCESS, int(devices * fraction * smallest))


__all__ = [
    "TOOL_FEATURES",
    "TOOL_PARSERS",
    "GpuPlan",
    "GpuRecipe",
    "Server",
    "find",
    "free_port",
    "gpu_plan",
    "new_key",
]
