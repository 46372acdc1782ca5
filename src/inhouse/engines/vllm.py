"""vLLM for safetensors models on GPUs: its own server, which the operator installed, on a private socket.

Source: ``vllm serve --help`` and vllm/entrypoints/openai/cli_args.py (0.11 and later: ``--uds``,
``--structured-outputs-config``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..core.engine import Launch
from ..core.errors import BadRequest
from ..core.features import VLLM
from ..core.models import Card
from ..core.requests import LoadOptions
from . import served
from .recipe import Availability, Room, Settings
from .served import TOOL_FEATURES, GpuPlan, GpuRecipe, Server, gpu_plan

NAME: Final = "vllm"
TITLE: Final = "vLLM"
READY: Final = 900.0
"""Seconds: it compiles kernels at its first start."""


def find(settings: Settings, state: Path | None, environ: Mapping[str, str]) -> Availability:
    """As the registry asks for it."""
    return served.find(NAME, TITLE, state, environ)


class Vllm(GpuRecipe):
    """Recipe."""

    name = NAME
    title = TITLE
    grammars = frozenset({"gbnf", "lark"})

    def launch(self, card: Card, options: LoadOptions, *, room: Room, address: str, secret: str) -> Launch:
        """How to start it. Raises BadRequest, Unsupported (not installed, no GPU), OutOfMemory."""
        program = self.program(card)
        if not self.can(card) or not address.endswith(".sock"):
            raise BadRequest(
                "vLLM runs safetensors models, on Linux.", hint="Run it with llama.cpp.", param="model"
            )
        plan = gpu_plan(card, options, self._settings, room, TITLE)
        parser = self.parser(card)
        files = {"template.jinja": card.template} if card.own_template and card.template else {}
        words = arguments(card, plan, address, parser, own_template=bool(files))
        if self._settings.prompt_sharing == "none":
            words.append("--no-enable-prefix-caching")
        server = Server(
            [program, *words],
            {**environment(self._home), "PATH": self._environ.get("PATH", "")},
            files,
        )
        return Launch(
            engine=NAME,
            address=address,
            slots=plan.slots,
            context_length=plan.context,
            memory=plan.memory,
            device_memory=plan.device_memory,
            ready_timeout=READY,
            build=self.build,
            grammars=self.grammars,
            wire="openai",
            served_as=str(card.name),
            takes=VLLM if parser else VLLM - TOOL_FEATURES,
            **server.launch(self._environ),  # type: ignore[arg-type]
        )


def arguments(
    card: Card, plan: GpuPlan, address: str, parser: str | None, *, own_template: bool
) -> list[str]:
    """The words behind ``vllm``. Its defaults of sampling are its own, not the model's: those we send."""
    words = [
        "serve",
        card.weights,
        *("--served-model-name", str(card.name)),
        *("--uds", address),
        *("--max-model-len", str(plan.context)),
        *("--max-num-seqs", str(plan.slots)),
        *("--gpu-memory-utilization", f"{plan.fraction:.2f}"),
        *("--tensor-parallel-size", str(plan.devices)),
        *("--generation-config", "vllm"),
        *("--structured-outputs-config", '{"backend": "guidance"}'),
        "--enable-prompt-tokens-details",
        *("--uvicorn-log-level", "warning"),
    ]
    if parser:
        words += ["--enable-auto-tool-choice", "--tool-call-parser", parser]
    if own_template:
        words += ["--chat-template", "{file:template.jinja}"]
    if "completion" not in card.capabilities:
        words += ["--runner", "pooling"]
    return words


def environment(home: Path) -> dict[str, str]:
    """Offline and silent towards its makers; caches under our home."""
    cache = home / "engines" / "cache"
    return {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_CACHE_ROOT": str(cache / NAME),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
    }


def make(settings: Settings, state: Path | None, environ: Mapping[str, str]) -> Vllm:
    """As the registry asks for it."""
    return Vllm(settings, state or Path(), environ)
