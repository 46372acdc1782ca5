"""What a person may do with a build: choose it, remove it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ...core.errors import Conflict, NotFound, Unsupported
from . import catalogue
from .choice import WHEEL, Candidate

AUTO: Final = "auto"
"""Says that the best build is taken."""


def check_use(name: str, candidates: Iterable[Candidate], kind: str) -> None:
    """Raise NotFound or Unsupported unless the build can be chosen; ``kind`` is the setting of the engine:
    what that forbids would not be used, whatever is chosen."""
    found = next((one for one in candidates if one.key == name), None)
    if found is None:
        catalogue.named(name)
        raise NotFound(
            f"The build {name!r} is not installed.", hint=f"Install it: inhouse engine install {name}"
        )
    if found.why:
        raise Unsupported(f"The build {name!r} cannot be used: {found.why}.", hint=found.fix)
    if kind not in (AUTO, found.kind):
        raise Unsupported(
            f"The build {name!r} is not used: INHOUSE_ENGINE={kind} does not allow it.",
            hint="Change that setting and restart the server.",
        )


def check_ours(name: str, others: Iterable[str]) -> None:
    """Raise Unsupported for what was not installed here; ``others`` are engines that are no builds."""
    if name in (WHEEL, "path", *others):
        raise Unsupported(
            f"{name!r} is no build that was installed here, so it is not removed.",
            hint="Only builds of llama.cpp are: inhouse engine list",
        )


def check_idle(name: str, models: Iterable[str]) -> None:
    """Raise Conflict for a build that runs ``models``."""
    running = sorted(set(models))
    if running:
        raise Conflict(
            f"The build {name!r} runs {', '.join(running)} now.",
            hint=f"Stop that first (inhouse stop {running[0]}), or remove it all the same with --force.",
        )


__all__ = ["AUTO", "check_idle", "check_ours", "check_use"]
