"""The records of what happens to models and requests: cause and remedy in words. Pure."""

from __future__ import annotations

from typing import Final

from ..core.engine import Launch
from ..core.errors import InhouseError
from ..core.journal import Kind, Record
from .memory import gib
from .messages import Why

SLOW: Final = 10.0
"""Seconds of a load from which on it is worth avoiding."""

_ROOM: Final = "More memory for models (INHOUSE_MEMORY), or smaller contexts, let both stay."
_COUNT: Final = "A higher INHOUSE_MAX_LOADED_MODELS lets both stay; there is memory for them."
_ONE_SET: Final = "Use one context length and one set of load options in all clients."

_GONE: Final[dict[Why, tuple[str, str]]] = {
    "expired": (
        "It was not used for as long as it is kept.",
        "A longer keep_alive (or INHOUSE_KEEP_ALIVE) keeps it loaded.",
    ),
    "evicted": (
        "Its memory was needed for {claimant}.",
        _ROOM,
    ),
    "reloaded": (
        "A request wants it loaded with other options.",
        _ONE_SET,
    ),
    "stopped": ("Somebody asked for it to be unloaded.", ""),
    "abandoned": ("Nobody waited for it any more while it loaded.", ""),
    "closing": ("The server is stopping.", ""),
}


def gone(model: str, why: Why, claimant: str, request_id: str, *, crowded: bool = False) -> Record:
    """A worker was told to stop; ``claimant`` is the model that needs its room. ``crowded``: there is
    memory for both, but no more models may be loaded."""
    cause, remedy = _GONE[why]
    facts = {"why": why, **({"for": claimant} if claimant else {})}
    if why == "evicted" and crowded:
        cause, remedy = "INHOUSE_MAX_LOADED_MODELS lets no more be loaded beside {claimant}.", _COUNT
        facts["limit"] = "models"
    return Record("eviction", model, cause.format(claimant=claimant or "another"), remedy, request_id, facts)


def made_room(model: str, *, same: bool, crowded: bool) -> tuple[str, str]:
    """Cause and remedy of the time in which ``model`` went for another, or for the ``same`` one with other
    options."""
    if same:
        return f"{model} was loaded with other options.", _ONE_SET
    if crowded:
        return f"{model} had to make room: INHOUSE_MAX_LOADED_MODELS lets no more be loaded.", _COUNT
    return f"{model} had to make room.", _ROOM


def facts_of(launch: Launch) -> dict[str, object]:
    """How a model was loaded."""
    return {
        "engine": launch.engine,
        "variant": launch.variant,
        "build": launch.build,
        "context_length": launch.context_length,
        "slots": launch.slots,
        "planned_memory": launch.memory,
    }


def loaded(model: str, launch: Launch, seconds: float, cause: str, request_id: str) -> Record:
    """A worker became ready."""
    remedy = ""
    if seconds >= SLOW:
        remedy = "Keep it loaded longer (keep_alive), or load it at the start (INHOUSE_PRELOAD)."
    facts = {"seconds": round(seconds, 3), **facts_of(launch)}
    return Record("load", model, cause, remedy, request_id, facts)


def load_failed(model: str, launch: Launch, error: InhouseError, request_id: str) -> Record:
    return Record("load_failed", model, error.message, error.hint, request_id, facts_of(launch))


def retried(model: str, failed: Launch, again: Launch, error: InhouseError, request_id: str) -> Record:
    """A load that failed goes on with another plan; with another build of the engine it is a fallback."""
    other = (failed.engine, failed.variant, failed.build) != (again.engine, again.variant, again.build)
    facts = {**facts_of(again), "failed": facts_of(failed)}
    kind: Kind = "fallback" if other else "retry"
    return Record(kind, model, why(error), tried(failed, again), request_id, facts)


def why(error: InhouseError) -> str:
    """Why a load failed, with the last that the worker said of it, if it said anything."""
    return f"{error.message} It said: {error.hint}" if error.detail and error.hint else error.message


def tried(failed: Launch, again: Launch) -> str:
    """What is done after a load that failed, in one sentence."""
    if again.notices and again.notices != failed.notices:
        return again.notices[-1]
    return (
        f"Tried again with {again.slots} slots of {again.context_length} tokens, {gib(again.memory)}"
        f" instead of {gib(failed.memory)}."
    )


def restarted(model: str, error: InhouseError, request_id: str) -> Record:
    return Record("restart", model, f"Started again after: {error.message}", error.hint, request_id)


def refused(model: str, error: InhouseError, request_id: str) -> Record:
    facts = {"code": error.code}
    if error.retry_after is not None:
        facts["retry_after"] = f"{error.retry_after:.0f}"
    return Record("refusal", model, error.message, error.hint, request_id, facts)


def notice(model: str, text: str, request_id: str) -> Record:
    return Record("notice", model, text, "", request_id)
