"""The engines of one server: which of them, and which build of llama.cpp, runs which model."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .. import machine as hardware
from ..core.engine import Launch
from ..core.errors import InhouseError, LoadFailed, NotFound
from ..core.journal import Record
from ..core.models import Card
from ..core.requests import LoadOptions
from ..machine import Machine
from . import registry
from .kernels import Kernels
from .recipe import Availability, Recipe, Settings
from .variants.attach import Attach
from .variants.choice import Candidate, gather, meant, ranked, tried
from .variants.figures import Kept
from .variants.recipe import Refused, Variant
from .variants.shelf import ENGINE, Shelf
from .variants.symptoms import broken, crashed

AUTO = ("", "auto", ENGINE)
"""What a model may ask for that leaves the build to us."""
CRASHES = 2
"""When so many workers of a build that were ready have crashed with our kernels, these are blamed."""


class Engines:
    """All recipes that this configuration allows; ``default`` runs what asks for no other.

    ``state`` is a folder where engines may keep things (the home). ``tell`` hears of builds that are not
    used although they should be. ``others`` are the engines beside llama.cpp. Thread-safe. Raises LoadFailed
    with a fix when there is no engine at all.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        state: Path,
        environ: Mapping[str, str] | None = None,
        machine: Machine | None = None,
        tell: Callable[[Record], None] = lambda record: None,
        others: Sequence[registry.Other] = registry.OTHERS,
    ) -> None:
        self._settings = settings
        self._state = state
        self._environ = dict(os.environ if environ is None else environ)
        self.machine = machine or hardware.detect()
        self.shelf = Shelf(state)
        here = hardware.fingerprint(self.machine)
        self.kept = Kept(self.shelf.root, here)
        self._attach = Attach(settings.kernels, state, here, self._environ)
        self._tell = tell
        self._told: set[str] = set()
        self._lock = threading.RLock()
        self._broken: dict[str, str] = {}
        self._crashes = Counter[str]()
        self.others = tuple(others)
        self._gpu = any(gpu.memory and not gpu.shared for gpu in self.machine.gpus)
        self._others: dict[str, Recipe] = {}
        self._order: list[Candidate] = []
        self.shelf.sweep()
        self.default: Recipe = self._choose()

    # -- choosing -----------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look again at what is installed, measured and wanted. Blocking: starts a build to see it runs."""
        with self._lock:
            self.default = self._choose()

    def forgive(self, key: str) -> None:
        """A build was installed anew or chosen by its user: that it failed before counts no more."""
        with self._lock:
            self._forgive(key)

    def _forgive(self, key: str) -> None:
        self._broken.pop(key, None)
        self._told = {text for text in self._told if not text.startswith(f"The build {key} ")}

    def _choose(self) -> Recipe:
        """The best build that starts here. One that a setting names is never silently replaced."""
        if self._settings.kind == "fake":
            return registry.fake(self._settings, self._state)
        self._order = ranked(self._gathered(), self._settings.kind, self.kept.use)
        notices = self._missing_choice()
        for at, one in enumerate(self._order):
            seen = self._order[at] = self._tried(one)
            if not seen.why:
                self._say(notices)
                return self._recipe(seen, notices)
            if seen.origin == "setting" and self._settings.kind == "auto":
                break
            if seen.origin == "shelf":
                notices = (*notices, f"The build {seen.key} is not used: {seen.why}.")
        raise _none(self._order)

    def _gathered(self) -> list[Candidate]:
        return gather(
            self._settings, self.shelf, self.machine, self.kept, self._environ, kernels=self._attach.of
        )

    def _missing_choice(self) -> tuple[str, ...]:
        use = self.kept.use
        if not use or any(one.key == use for one in self._order):
            return ()
        return (f"The build {use}, which was chosen, is not installed or not allowed by INHOUSE_ENGINE.",)

    def _tried(self, one: Candidate) -> Candidate:
        if one.key in self._broken and not one.why:
            return replace(one, why=self._broken[one.key], fix="See: inhouse engine list")
        return tried(one, self._environ)

    def _recipe(self, one: Candidate, notices: tuple[str, ...] = ()) -> Variant:
        return Variant(self._settings, one, self._environ, notices)

    def _say(self, notices: Sequence[str]) -> None:
        """Write down each once: the same choice is made at every look."""
        for text in notices:
            if text not in self._told:
                self._told.add(text)
                self._tell(Record("fallback", "", text, "See what can be done: inhouse engine list"))

    # -- asking -------------------------------------------------------------------------------

    def of(self, card: Card, options: LoadOptions | None = None) -> Recipe:
        """The recipe that runs ``card``: the one it asks for, else the first that can run its kind.

        Where none can it is one whose ``launch`` says why. A grammar among the ``options`` leads to the
        first build that enforces it.
        """
        wanted = card.tuning.engine
        for other in self.others:
            if other.name == wanted or self.claimed(card, by=other):
                return self._other(other)
        if wanted not in AUTO and self._settings.kind != "fake":
            return self._named(wanted)
        if self.default.can(card):
            return self._enforcing(options.grammar if options else None)
        able = [one for one in self.others if self._other(one).can(card) and (self._gpu or not one.gpu)]
        for other in able:
            if other.find(self._settings, self._state, self._environ).ok:
                return self._other(other)
        return self._other(able[0]) if able else self.default

    def claimed(self, card: Card, *, by: registry.Other | None = None) -> bool:
        """Whether the configuration gives ``card`` an engine (this one) by its name."""
        others = self.others if by is None else (by,)
        return card.tuning.engine in AUTO and any(other.claims(card) for other in others)

    def _other(self, other: registry.Other) -> Recipe:
        if other.name not in self._others:
            self._others[other.name] = other.make(self._settings, self._state, self._environ)
        return self._others[other.name]

    def _named(self, name: str) -> Recipe:
        """The build that a model asks for by name. It gets no other."""
        with self._lock:
            found = [self._tried(one) for one in meant(name, self._order)]
        usable = next((one for one in found if not one.why), None)
        if usable is not None:
            return self._recipe(usable)
        return Refused(name, self.default, found[0].why if found else "", found[0].fix if found else "")

    def _enforcing(self, grammar: str | None) -> Recipe:
        """The default, or the best build that enforces a notation which the default does not."""
        if not grammar or grammar in self.default.grammars:
            return self.default
        with self._lock:
            for one in self._order:
                if grammar in one.grammars and not (seen := self._tried(one)).why:
                    return self._recipe(seen, (f"{one.key} runs the model: it enforces {grammar} grammars.",))
        return self.default

    def fall_back(self, card: Card, failed: Launch, error: InhouseError) -> Recipe | None:
        """What to run ``card`` with once ``failed`` did not become ready; None to give up.

        Only when the error lies in the build (a missing library, instructions that the CPU lacks, no
        device): then it is not used again by this process. One that crashed with our kernels goes on
        without them. Blocking.
        """
        if failed.engine == ENGINE and self._without_kernels(failed, error):
            return self.of(card)
        why = broken(f"{error.message}\n{error.hint}\n{error.detail}")
        if failed.engine != ENGINE or not failed.variant or not why or card.tuning.engine not in AUTO:
            return None
        with self._lock:
            self._broken[failed.variant] = why
            try:
                self.refresh()
            except LoadFailed:  # there is no other: what may work the next time is better than nothing
                self._forgive(failed.variant)
                return None
        return self.of(card)

    def blame(self, died: Launch, error: InhouseError) -> bool:
        """Whether the kernels of a build are off from now on because workers that were ready crashed with
        them. Once may be the engine's own fault; one that crashes without them as well gets them back.
        Blocking."""
        if died.engine != ENGINE or not crashed(f"{error.message}\n{error.hint}"):
            return False
        with self._lock:
            self._crashes[died.variant] += 1
            if died.kernels and self._crashes[died.variant] < CRASHES:
                return False
            del self._crashes[died.variant]
        return self._without_kernels(died, error)

    def _without_kernels(self, failed: Launch, error: InhouseError) -> bool:
        """Whether the build's kernels are now off because it crashed with them. One that crashes without
        them as well gets them back."""
        sign = crashed(f"{error.message}\n{error.hint}\n{error.detail}")
        if not sign:
            return False
        with self._lock:
            if failed.kernels:
                self._attach.distrust(failed.variant, f"a worker that used them crashed ({sign})")
            elif not self._attach.trust(failed.variant):
                return False
            self.refresh()
            return bool(failed.kernels)

    def kernels(self) -> Kernels | None:
        """Whether the default runs with our kernels; None where that is no question."""
        return self.default.kernels if isinstance(self.default, Variant) else None

    def grammars(self, card: Card) -> frozenset[str]:
        """The notations that the engine of ``card`` enforces, as in ``Launch.grammars``."""
        return self.of(card).grammars

    def reachable(self, card: Card) -> frozenset[str]:
        """The notations that some usable build could enforce for ``card``, after a reload."""
        own = self.grammars(card)
        if card.tuning.engine not in AUTO or not self.default.can(card):
            return own
        return own | frozenset().union(*(one.grammars for one in self._order if not one.why))

    def cards(self) -> tuple[Card, ...]:
        """Models that the engines bring along themselves."""
        return self.default.cards()

    def candidates(self) -> list[Candidate]:
        """Every build that is here, each tried: in the order of choice, those that cannot be used last. May
        start programs; blocking."""
        with self._lock:
            found = [self._tried(one) for one in ranked(self._gathered(), "auto", self.kept.use)]
        return sorted(found, key=lambda one: bool(one.why))

    def variant(self, key: str) -> Variant:
        """The recipe of one usable build, whatever is chosen. Raises NotFound."""
        with self._lock:
            for one in self.candidates():
                if one.key == key and not one.why:
                    return self._recipe(one)
        raise NotFound(f"The build {key[:80]!r} cannot be used here.", hint="See: inhouse engine list")

    def available(self) -> list[Availability]:
        """Every engine with what is known of it, best first. May run binaries once; blocking."""
        builds = [
            Availability(one.key, not one.why, one.version, one.path, one.why, one.fix)
            for one in self.candidates()
        ]
        others = [one.find(self._settings, self._state, self._environ) for one in self.others]
        return [*builds, *others]


def _none(tried: Sequence[Candidate]) -> LoadFailed:
    return LoadFailed(
        "No engine can be used: " + "; ".join(f"{one.key}: {one.why}" for one in tried if one.why),
        hint=" Or: ".join(one.fix for one in tried if one.fix),
        detail=" ".join(one.path for one in tried),
    )


__all__ = ["Engines"]
