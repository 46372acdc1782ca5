"""One build of llama.cpp as a recipe: the recipe of its kind, told which build it is."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from ...core.engine import Launch
from ...core.errors import BadRequest
from ...core.models import Card
from ...core.requests import LoadOptions
from ..llamacpp import LlamaCpp
from ..recipe import Availability, Recipe, Room, Settings, check_engine
from .choice import Candidate


class Variant:
    """Recipe for one candidate. ``notices``: why better ones were not taken; ``kernels``: whether ours."""

    def __init__(
        self, settings: Settings, of: Candidate, environ: Mapping[str, str], notices: tuple[str, ...] = ()
    ) -> None:
        self.key = of.key
        self.kernels = of.kernels
        self.notices = notices
        self._library = of.path if of.runs == "wheel" else ""
        self._grammars = of.grammars
        found = Availability("wheel" if of.runs == "wheel" else "native", True, of.version, of.path)
        self._inner = LlamaCpp(settings, found, environ, of.kernels)

    @property
    def name(self) -> str:
        return f"llama.cpp ({self.key})"

    @property
    def build(self) -> str:
        return self._inner.build

    @property
    def grammars(self) -> frozenset[str]:
        return self._grammars

    def cards(self) -> tuple[Card, ...]:
        """None: all models come from the store."""
        return ()

    def can(self, card: Card) -> bool:
        """What llama.cpp can."""
        return self._inner.can(card)

    def launch(self, card: Card, options: LoadOptions, *, room: Room, address: str, secret: str) -> Launch:
        """See ``LlamaCpp.launch``. The card's own wish for an engine led here and is not asked again."""
        bare = dataclasses.replace(card, tuning=dataclasses.replace(card.tuning, engine=""))
        launch = self._inner.launch(bare, options, room=room, address=address, secret=secret)
        env = launch.env
        if self._library:  # imported before the package that is installed beside us
            paths = (self._library, env.get("PYTHONPATH", ""))
            env = env | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
        return dataclasses.replace(
            launch,
            env=env,
            variant=self.key,
            grammars=self._grammars,
            notices=(*self.notices, *launch.notices),
        )


class Refused:
    """Stands for a build that a model asks for and that cannot be used: says so when it is to run."""

    def __init__(self, name: str, instead: Recipe, why: str, fix: str) -> None:
        self._wanted = name
        self._instead = instead
        self._why = why
        self._fix = fix

    @property
    def name(self) -> str:
        return self._instead.name

    @property
    def build(self) -> str:
        return self._instead.build

    @property
    def grammars(self) -> frozenset[str]:
        return self._instead.grammars

    def cards(self) -> tuple[Card, ...]:
        """None."""
        return ()

    def can(self, card: Card) -> bool:
        """Nothing."""
        return False

    def launch(self, card: Card, options: LoadOptions, *, room: Room, address: str, secret: str) -> Launch:
        """Raises BadRequest."""
        if not self._why:
            check_engine(card, self._instead.name)
        raise BadRequest(
            f"The model asks for the engine '{self._wanted}', which cannot be used: {self._why}.",
            hint=self._fix or "Make the model without an engine.",
            param="model",
        )


__all__ = ["Refused", "Variant"]
