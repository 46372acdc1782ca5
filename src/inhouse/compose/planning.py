"""Plans, as the server answers them: what is found, supposed and learnt, put into the formulas."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import charts
from .. import machine as machines
from ..catalog import Catalog
from ..config import Config
from ..core.models import Card
from ..core.requests import LoadOptions
from ..dialects.inhouse.plan import PlanOrder
from ..engines import exact, llamacpp
from ..engines.engines import Engines
from ..engines.recipe import Recipe, Room
from ..machine import Machine, speed
from ..machine.fit import sized
from ..machine.footprint import Load
from ..planning import History, Host, Planned, What, Where, make
from ..planning.asking import ENDLESS, as_asked, asked_too_much, check_cache, check_exact
from ..planning.found import Found, requantised
from ..planning.places import Place, elsewhere, here
from ..planning.quants import bars_of, compared, parts_of, smaller
from ..planning.scoring import Came, predictions, reckoning
from ..planning.speed import with_quantised_cache
from ..planning.view import reckoned, shown
from ..store import Store
from .subjects import Subjects

Tune = Callable[[Card, Recipe, Room], tuple[Card, Room]]
"""Puts in what was measured to be best for a model."""


class Planning:
    """Answers plans. ``free`` tells how many bytes models may take now; ``tune`` puts in what was measured to
    be best for a model. Blocking throughout."""

    def __init__(
        self,
        config: Config,
        *,
        rooms: tuple[Store, Catalog, Engines],
        machine: Machine,
        free: Callable[[], int],
        history: History,
        tune: Tune = lambda card, recipe, room: (card, room),
    ) -> None:
        store, catalog, self._engines = rooms
        self._config = config
        self._machine = machine
        self._free = free
        self._tune = tune
        self.history = history
        self.subjects = Subjects(store, catalog)
        self._lock = threading.Lock()
        self._tried = False

    def answer(self, order: PlanOrder) -> dict[str, Any]:
        """The plan as JSON. Raises ModelNotFound, BadRequest, Unsupported, StoreError, LoadFailed."""
        check_cache(order.kv_type)
        found = self.subjects.file(Path(order.path)) if order.path else self.subjects.of(order.model)
        place = self._place(order.machine, found.card)
        if order.quant:
            found = requantised(found, order.quant)
        load = self.load_of(found, place, order)
        planned = self.planned(found, place, load, order.prompt)
        answer = self._answer(found, place, order, planned)
        if order.exact:
            answer["exact"] = self._exact(found, place, load, order)
        if order.quants:
            answer["quants"] = compared(found, self.host(found, place, load), load, order.prompt)
        if order.picture:
            answer["picture"] = drawn(str(found.card.name), answer)
        if not order.quant and not order.kv_type:  # else it is not how the model will be loaded
            self._keep(found, place, planned, order.prompt)
        return answer

    def _answer(self, found: Found, place: Place, order: PlanOrder, planned: Planned) -> dict[str, Any]:
        lacks, _ = self.history.surplus(place.where(found))
        name = machines.fingerprint(place.machine)
        kinds: tuple[What, ...] = ("memory", "decode", "prefill")
        record = [self.history.record(what, name) for what in kinds]
        return shown(found, place, planned, learnt=int(lacks)) | {
            "model": Path(order.path).name if order.path else str(found.card.name),
            "prompt": order.prompt,
            "notes": [*place.notes, *found.unknown, *asked_too_much(found, order.context)],
            "record": [asdict(one) for one in record],
        }

    # -- what is asked for ----------------------------------------------------------------------

    def _place(self, told_of: Mapping[str, Any] | None, card: Card) -> Place:
        if told_of is None:
            return self.here(card)
        build = self._engines.of(card).build
        return elsewhere(machines.from_json(told_of), build, portable=_portable(build))

    def here(self, card: Card, build: str = "") -> Place:
        """This machine, with the engine that runs ``card`` or the ``build`` that did."""
        recipe = self._engines.of(card)
        variant = f"{recipe.name} {recipe.build}"
        build = build or recipe.build
        return here(self.machine(), self._free(), build, variant=variant, portable=_portable(build))

    def machine(self) -> Machine:
        """This machine with its memory's bandwidth, which is measured if that is not known; where it cannot
        be, it is not tried with every plan."""
        with self._lock:
            if not self._machine.bandwidth.read:
                look = speed.known if self._tried else speed.measured
                self._tried = True
                self._machine = look(self._machine, self._config.home)
            return self._machine

    def load_of(self, found: Found, place: Place, order: PlanOrder) -> Load:
        """How the model would be loaded: as asked for, the rest as this server's engine would choose."""
        tuning = dataclasses.replace(
            found.card.tuning,
            slots=order.users or found.card.tuning.slots,
            kv_cache_type=order.kv_type or found.card.tuning.kv_cache_type,
            engine="",
        )
        card = dataclasses.replace(found.card, tuning=tuning, format="gguf")
        laid = as_asked(
            lambda free: self._laid_out(card, place, order.context, free),
            place.free,
            card.context_length,
            (order.context, order.users),
        )
        base = llamacpp.load_of(card, laid["kv_cache_type"], laid["batch"])
        return dataclasses.replace(
            base,
            context=laid["context_length"],
            slots=laid["slots"],
            mmap=laid["mmap"],
            features=place.features,
        )

    def _laid_out(self, card: Card, place: Place, context: int | None, free: int) -> dict[str, Any]:
        """The order that the wheel's worker would get."""
        recipe = llamacpp.LlamaCpp(self._config.engine, llamacpp.wheel(), {})
        room = Room(free, place.machine.engine_cores, huge_pages=place.machine.huge_pages)
        if place.here:
            card, room = self._tune(card, self._engines.of(card), room)
        options = LoadOptions(context_length=context)
        launch = recipe.launch(card, options, room=room, address="127.0.0.1:1", secret="")
        laid: dict[str, Any] = json.loads(launch.stdin)
        return laid

    # -- the plan -------------------------------------------------------------------------------

    def host(self, found: Found, place: Place, load: Load) -> Host:
        """The place with the rates that were learnt there, or else are usual."""
        where, plain = place.rates(found, load), place.where(found)
        decode, prefill = (self.history.rate(what, where) for what in ("decode", "prefill"))
        if where != plain:
            usual = place.host(*(self.history.rate(what, plain) for what in ("decode", "prefill")))
            decode = decode or usual.decode
            prefill = prefill or (usual.prefill and with_quantised_cache(usual.prefill))
        return place.host(decode, prefill)

    def planned(self, found: Found, place: Place, load: Load, prompt: int) -> Planned:
        """The plan of a load with what was learnt so far."""
        host = self.host(found, place, load)
        return make(found.subject, host, load, prompt=prompt, smaller=smaller(found, host, load))

    def _keep(self, found: Found, place: Place, planned: Planned, prompt: int) -> None:
        """Write the prediction down, to be held against what comes of it here."""
        for what, expected in predictions(found, place, planned).items():
            self.history.expect(place.rates(found, planned.load), what, prompt, expected)

    def came(self, where: Where, came: Came) -> None:
        """Keep what came of a prediction."""
        self.history.came(where, came.what, came.size, came.expected, (came.measured, came.coefficient))

    # -- the engine's own words ----------------------------------------------------------------

    def _exact(self, found: Found, place: Place, load: Load, order: PlanOrder) -> dict[str, Any]:
        """The engine's own reckoning beside the formula. Raises BadRequest where there is no file."""
        check_exact(found, place, order.quant)
        tuning = dataclasses.replace(
            found.card.tuning, slots=load.slots, kv_cache_type=load.k_type, engine=""
        )
        card = dataclasses.replace(found.card, tuning=tuning)
        laid = self._laid_out(card, place, load.context, ENDLESS)
        laid |= {"context_length": load.context, "slots": load.slots, "memory_limit": 0}
        parts = exact.reckon(laid, os.environ)
        kept = sum(part.model + part.context for part in parts)
        self.came(place.where(found), reckoning(found, load, kept))
        return reckoned(
            f"{llamacpp.WHEEL} {llamacpp.wheel().version}",
            [asdict(part) | {"total": part.total} for part in parts],
            sized(found.shape, load, load.context, load.slots),
        )


def _portable(build: str) -> bool:
    """The wheel is built for AVX2."""
    return build.startswith(llamacpp.WHEEL)


def drawn(name: str, answer: Mapping[str, Any]) -> str:
    """The quantisations beside each other where they were asked for, else what the plan takes, as SVG."""
    if rows := answer.get("quants"):
        return charts.bars(f"{name}: quantisations", "MiB", *bars_of(rows))
    return charts.bars(f"{name}: memory", "MiB", *parts_of(answer))


__all__ = ["Planning"]
