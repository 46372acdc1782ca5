"""Which engines there are: one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..core.models import Card
from ..machine import Gpu
from . import sglang, transformers, vllm
from .recipe import Availability, Recipe, Settings


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine is installed: the home, the GPUs that it may use, the environment."""

    home: Path
    gpus: tuple[Gpu, ...]
    environ: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Other:
    """An engine beside llama.cpp: ``name`` is what a model asks for it by, and its recipe's.

    ``find`` tells whether it can be used here (it may run a binary once), ``make`` its recipe, which
    is made even where the engine is not installed: its ``launch`` then says what is missing. Both get
    the engine settings, a folder where the engine may keep things, and the environment. ``claims`` says
    of models that are this engine's whatever others can; ``gpu``: it needs a GPU with memory of its own.
    ``install`` gets it, saying lines and asking whether to stop, where we can; ``what`` it then does.
    """

    name: str
    find: Callable[[Settings, Path | None, Mapping[str, str]], Availability]
    make: Callable[[Settings, Path | None, Mapping[str, str]], Recipe]
    claims: Callable[[Card], bool] = lambda card: False
    gpu: bool = False
    install: Callable[[Place, Callable[[str], None], Callable[[], bool]], None] | None = None
    what: str = ""


OTHERS: Final[tuple[Other, ...]] = (
    Other(vllm.NAME, vllm.find, vllm.make, gpu=True),
    Other(sglang.NAME, sglang.find, sglang.make, gpu=True),
    Other(
        transformers.NAME,
        transformers.find,
        transformers.make,
        install=lambda place, say, stopped: transformers.install(
            place.home, say, stopped, place.environ, gpus=place.gpus
        ),
        what="it runs safetensors models",
    ),
)
"""One line an engine, best first among those that can run the same model."""


def fake(settings: Settings, state: Path | None) -> Recipe:
    """The fake engine, which nobody loads who does not ask for it."""
    from .fake import FakeRecipe

    return FakeRecipe(settings, state=state)


__all__ = ["OTHERS", "Other", "fake"]
