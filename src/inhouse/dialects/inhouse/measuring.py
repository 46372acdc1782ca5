"""Bodies of the routes that measure: bench and tune."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...core.errors import BadRequest
from ...core.json import parse
from ..fields import Fields

MOST_LEVELS = 16
MOST_CLIENTS = 256
MOST_TOKENS = 1_000_000
MOST_ROUNDS = 1000
MOST_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class BenchBody:
    """``against``: a build of the engine, or the URL of a server on this machine; ``there`` what that calls
    the model. ``before``: figures of an earlier run, as they were given. ``plot``: a picture is wanted."""

    model: str
    clients: tuple[int, ...] = (1,)
    prompt: int = 512
    tokens: int = 128
    rounds: int = 3
    task: str = "text"
    chat: bool = False
    shared: bool = False
    against: str = ""
    there: str = ""
    before: Mapping[str, Any] | None = None
    plot: bool = False


@dataclass(frozen=True, slots=True)
class TuneBody:
    """``minutes`` is how long it may take; ``quick``: only what tells most."""

    model: str
    quick: bool = False
    minutes: int = 15


def decode_bench(body: bytes) -> BenchBody:
    """``{"model", "clients": [...], "prompt", "tokens", "rounds", "task", "chat", "shared", "against",
    "there", "before": {...}, "plot"}``. Raises BadRequest."""
    fields = Fields(parse(body))
    base = BenchBody("")
    return BenchBody(
        model=fields.required_text("model"),
        clients=_clients(fields) or base.clients,
        prompt=fields.whole("prompt", 1, MOST_TOKENS) or base.prompt,
        tokens=fields.whole("tokens", 1, MOST_TOKENS) or base.tokens,
        rounds=fields.whole("rounds", 1, MOST_ROUNDS) or base.rounds,
        task=fields.choice("task", "text", "copy") or base.task,
        chat=fields.flag("chat", False),
        shared=fields.flag("shared", False),
        against=fields.text("against") or "",
        there=fields.text("there") or "",
        before=fields.object("before"),
        plot=fields.flag("plot", False),
    )


def _clients(fields: Fields) -> tuple[int, ...]:
    found = []
    for i, item in enumerate(fields.items("clients", MOST_LEVELS) or []):
        if isinstance(item, bool) or not isinstance(item, int) or not 1 <= item <= MOST_CLIENTS:
            raise BadRequest(
                f"clients[{i}] must be a whole number from 1 to {MOST_CLIENTS}", param=f"clients[{i}]"
            )
        found.append(item)
    return tuple(found)


def decode_tune(body: bytes) -> TuneBody:
    """``{"model", "quick", "minutes"}``. Raises BadRequest."""
    fields = Fields(parse(body))
    quick = fields.flag("quick", False)
    return TuneBody(
        model=fields.required_text("model"),
        quick=quick,
        minutes=fields.whole("minutes", 1, MOST_MINUTES) or (5 if quick else TuneBody("").minutes),
    )


def decode_tuned(body: bytes) -> str:
    """``{"model"}``. Raises BadRequest."""
    return Fields(parse(body)).required_text("model")


__all__ = ["BenchBody", "TuneBody", "decode_bench", "decode_tune", "decode_tuned"]
