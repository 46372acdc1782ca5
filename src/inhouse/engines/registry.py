"""Which engine runs the models: chosen once, from the configuration and from what is installed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..core.errors import LoadFailed
from . import llamacpp, native
from .recipe import Availability, Recipe, Settings


@dataclass(frozen=True, slots=True)
class Other:
    """An engine beside llama.cpp: ``name`` is what a model asks for it by, and its recipe's.

    ``find`` tells whether it can be used here (it may run a binary once), ``make`` its recipe, which
    is made even where the engine is not installed: its ``launch`` then says what is missing. Both get
    the engine settings, a folder where the engine may keep things, and the environment.
    """

    name: str
    find: Callable[[Settings, Path | None, Mapping[str, str]], Availability]
    make: Callable[[Settings, Path | None, Mapping[str, str]], Recipe]


OTHERS: Final[tuple[Other, ...]] = ()
"""One line an engine, best first among those that can run the same model."""


def available(
    settings: Settings, *, state: Path | None = None, environ: Mapping[str, str] | None = None
) -> list[Availability]:
    """Every engine with what is known of it, best first. Runs a native binary once; blocking."""
    env = os.environ if environ is None else environ
    others = [one.find(settings, state, env) for one in OTHERS]
    return [native.find(settings.llama_server, env), llamacpp.wheel(), *others]


def choose(
    settings: Settings, *, state: Path | None = None, environ: Mapping[str, str] | None = None
) -> Recipe:
    """The recipe for ``settings.kind``; ``state`` is a folder where an engine may keep things.

    ``auto`` takes a native llama-server that is configured or found on PATH, since builds for this
    very machine are faster (measured: 1.3 to 1.5 times the prefill of the wheel), else the wheel.
    A binary that the user named and that does not work is an error, never silently replaced.
    Raises LoadFailed with a fix when there is no engine.
    """
    env = os.environ if environ is None else environ
    if settings.kind == "fake":
        from .fake import FakeRecipe

        return FakeRecipe(settings, state=state)
    tried: list[Availability] = []
    if settings.kind in ("auto", "native"):
        tried.append(native.find(settings.llama_server, env))
        named = settings.kind == "auto" and settings.llama_server
        if not tried[-1].ok and named:
            raise _none(tried)
    if settings.kind in ("auto", "wheel"):
        tried.append(llamacpp.wheel())
    for found in tried:
        if found.ok:
            return llamacpp.LlamaCpp(settings, found, env)
    raise _none(tried)


def _none(tried: list[Availability]) -> LoadFailed:
    return LoadFailed(
        "No engine can be used: " + "; ".join(f"{one.name}: {one.why}" for one in tried),
        hint=" Or: ".join(one.fix for one in tried if one.fix),
        detail=" ".join(one.path for one in tried),
    )
