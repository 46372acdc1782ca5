"""SGLang for safetensors models on GPUs: its own server, which the operator installed, on loopback.

It has no Unix socket: it listens on a port with a key, which stands in a private file, not in the process
list. Source: docs.sglang.io, "Server Arguments" (``sglang serve``, ``--config``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..core.engine import Launch
from ..core.errors import BadRequest
from ..core.features import SGLANG
from ..core.models import Card
from ..core.requests import LoadOptions
from . import served
from .recipe import Availability, Room, Settings
from .served import TOOL_FEATURES, GpuPlan, GpuRecipe, Server, free_port, gpu_plan, new_key
from .vllm import environment

NAME: Final = "sglang"
TITLE: Final = "SGLang"
READY: Final = 900.0


def find(settings: Settings, state: Path | None, environ: Mapping[str, str]) -> Availability:
    """As the registry asks for it."""
    return served.find(NAME, TITLE, state, environ)


class Sglang(GpuRecipe):
    """Recipe."""

    name = NAME
    title = TITLE
    grammars = frozenset({"lark"})
    """It takes regexes and JSON Schemas; its own notation of grammars is none of ours."""

    def launch(self, card: Card, options: LoadOptions, *, room: Room, address: str, secret: str) -> Launch:
        """How to start it; ``address`` and ``secret`` are its own. Raises BadRequest, Unsupported (not
        installed, no GPU), OutOfMemory."""
        program = self.program(card)
        if not self.can(card):
            raise BadRequest("SGLang runs safetensors models.", hint="Use llama.cpp.", param="model")
        plan = gpu_plan(card, options, self._settings, room, TITLE)
        parser = self.parser(card)
        port, key = free_port(), new_key()
        files = {"config.yaml": f"api-key: {key}\n"}
        if card.own_template and card.template:
            files["template.jinja"] = card.template
        words = arguments(card, plan, port, parser, own_template=len(files) > 1)
        if self._settings.prompt_sharing == "none":
            words.append("--disable-radix-cache")
        server = Server(
            [program, *words],
            {**environment(self._home), "PATH": self._environ.get("PATH", "")},
            files,
        )
        return Launch(
            engine=NAME,
            address=f"127.0.0.1:{port}",
            secret=key,
            slots=plan.slots,
            context_length=plan.context,
            memory=plan.memory,
            device_memory=plan.device_memory,
            ready_timeout=READY,
            build=self.build,
            grammars=self.grammars,
            wire="openai",
            served_as=str(card.name),
            takes=SGLANG if parser else SGLANG - TOOL_FEATURES,
            **server.launch(self._environ),  # type: ignore[arg-type]
        )


def arguments(card: Card, plan: GpuPlan, port: int, parser: str | None, *, own_template: bool) -> list[str]:
    """The words behind ``sglang``."""
    words = [
        "serve",
        *("--config", "{file:config.yaml}"),
        *("--model-path", card.weights),
        *("--served-model-name", str(card.name)),
        *("--host", "127.0.0.1"),
        *("--port", str(port)),
        *("--context-length", str(plan.context)),
        *("--max-running-requests", str(plan.slots)),
        *("--mem-fraction-static", f"{plan.fraction:.2f}"),
        *("--tp-size", str(plan.devices)),
        *("--grammar-backend", "llguidance"),
        *("--sampling-defaults", "openai"),
        "--enable-cache-report",
        *("--log-level", "warning"),
    ]
    if parser:
        words += ["--tool-call-parser", parser]
    if own_template:
        words += ["--chat-template", "{file:template.jinja}"]
    if "completion" not in card.capabilities:
        words += ["--is-embedding"]
    return words


def make(settings: Settings, state: Path | None, environ: Mapping[str, str]) -> Sglang:
    """As the registry asks for it."""
    return Sglang(settings, state or Path(), environ)
