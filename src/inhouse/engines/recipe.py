"""What every engine's recipe offers: pure decisions about how to run a model on this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from ..core.engine import Launch
from ..core.errors import BadRequest
from ..core.models import Card
from ..core.requests import LoadOptions
from ..machine import Gpu


@dataclass(frozen=True, slots=True)
class Tuned:
    """What measuring found best for one model, engine build and machine; None or "" leave it to the recipe.

    ``batch`` prompt tokens computed in one go; ``speculative``: how tokens are guessed (none, draft, ngram
    ... as the recipe names them), ``draft_tokens`` guesses in one go, ``draft`` the digest of the weights of
    another stored model that makes them.
    """

    threads: int | None = None
    batch: int | None = None
    flash_attention: bool | None = None
    kv_cache_type: str = ""
    slots: int | None = None
    mmap: bool | None = None
    speculative: str = ""
    draft_tokens: int | None = None
    draft: str = ""


@dataclass(frozen=True, slots=True)
class Room:
    """What a worker may use: bytes of memory, physical cores, GPUs, and how it is best set up there.
    ``prefixes`` is the folder for saved prompts, "" for none; ``huge_pages`` how Linux gives transparent huge
    pages: always, madvise (to those who ask), never, "" where it is not known."""

    memory: int
    cores: int
    gpus: tuple[Gpu, ...] = ()
    tuned: Tuned = field(default_factory=Tuned)
    prefixes: str = ""
    huge_pages: str = ""


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an engine can be used here; ``why`` and ``fix`` explain a no in one sentence each."""

    name: str
    ok: bool
    version: str = ""
    path: str = ""
    why: str = ""
    fix: str = ""


class Settings(Protocol):
    """The engine section of the configuration, as far as recipes read it."""

    @property
    def kind(self) -> str: ...
    @property
    def llama_server(self) -> str: ...
    @property
    def context_length(self) -> int: ...
    @property
    def slots(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def kernels(self) -> str: ...
    @property
    def kv_cache_type(self) -> str: ...
    @property
    def prompt_cache(self) -> int: ...
    @property
    def speculative(self) -> str: ...
    @property
    def prompt_sharing(self) -> str: ...
    @property
    def fake(self) -> str: ...


class Recipe(Protocol):
    """How one kind of engine is run."""

    @property
    def name(self) -> str: ...

    @property
    def build(self) -> str: ...

    @property
    def grammars(self) -> frozenset[str]:
        """As in ``Launch.grammars``."""
        ...

    def cards(self) -> tuple[Card, ...]:
        """Models that the engine brings along itself."""
        ...

    def can(self, card: Card) -> bool:
        """Whether it runs models of this kind at all, by what the card says; nothing is started."""
        ...

    def launch(self, card: Card, options: LoadOptions, *, room: Room, address: str, secret: str) -> Launch:
        """How to start a worker for ``card``. Raises BadRequest or OutOfMemory."""
        ...


def check_engine(card: Card, kind: str) -> None:
    """Raise BadRequest if the model asks for another engine than ``kind``, the one in use."""
    wanted = card.tuning.engine
    if wanted not in ("", "auto", kind):
        raise BadRequest(
            f"The model asks for the engine '{wanted}', but this server runs '{kind}'.",
            hint=f"Start the server with INHOUSE_ENGINE={wanted}, or make the model without an engine.",
            param="model",
        )


__all__ = ["Availability", "Recipe", "Room", "Settings", "Tuned", "check_engine"]
