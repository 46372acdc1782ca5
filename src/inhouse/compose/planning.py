"""Plans, as the server answers them: what is found, supposed and learnt, put into the formulas."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from .. import machine as machines
from ..catalog import Catalog
from ..config import Config
from ..core.errors import BadRequest, OutOfMemory
from ..core.models import Card
from ..core.requests import LoadOptions
from ..dialects.inhouse.plan import PlanOrder
from ..engines import exact, llamacpp
from ..engines.engines import Engines
from ..engines.recipe import Recipe, Room
from ..machine import Gpu, Machine, speed
from ..machine.budget import budget
from ..machine.fit import sized
from ..machine.footprint import KV_BYTES, Load
from ..planning import History, Host, Planned, Subject, What, Where, make, told
from ..planning.speed import GPU_DECODE_PRIOR, GPU_PREFILL_PRIOR, Range, Rate, gpu_bandwidth, prior
from ..store import Store
from .plan_view import Place, asked_too_much, shown
from .quants import compared, drawn, smaller
from .subjects import Found, Subjects, requantised

ENDLESS: Final = 2**62
"""Bytes of memory where a load is to be laid out as it was asked for, whether it fits or not."""
Tune = Callable[[Card, Recipe, Room], tuple[Card, Room]]
"""Puts in what was measured to be best for a model."""
_GPU_BUILDS: Final = ("cuda", "rocm", "sycl", "vulkan", "metal")


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
        if order.kv_type and order.kv_type not in KV_BYTES:
            known = ", ".join(KV_BYTES)
            raise BadRequest("There is no such KV type.", hint=f"Choose one of: {known}", param="kv_type")
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
            rows = compared(found, self.host(found, place), load, order.prompt)
            answer["quants"] = rows
            if order.picture:
                answer["picture"] = drawn(str(found.card.name), rows)
        elif order.picture:
            answer["picture"] = drawn(str(found.card.name), [answer])
        if not order.quant and not order.kv_type:  # else it is not how the model will be loaded
            self._keep(found, place, planned, order.prompt)
        return answer

    def _answer(self, found: Found, place: Place, order: PlanOrder, planned: Planned) -> dict[str, Any]:
        lacks, _ = self.history.surplus(self.where(found, place))
        name = machines.fingerprint(place.machine)
        kinds: tuple[What, ...] = ("memory", "decode", "prefill")
        record = [self.history.record(what, name) for what in kinds]
        return shown(found, place, planned, learnt=int(lacks)) | {
            "model": Path(order.path).name if order.path else str(found.card.name),
            "prompt": order.prompt,
            "notes": [*place.notes, *found.unknown, *asked_too_much(found.card, order)],
            "record": [asdict(one) for one in record],
        }

    # -- what is asked for ----------------------------------------------------------------------

    def _place(self, told_of: Mapping[str, Any] | None, card: Card) -> Place:
        if told_of is None:
            return self.here(card)
        recipe = self._engines.of(card)
        machine = machines.from_json(told_of)
        gpus = machine.gpus
        notes = ("It is supposed that an engine for its GPU is installed there.",) if gpus else ()
        return Place(machine, budget(machine), False, recipe.build, gpus, notes)

    def here(self, card: Card, build: str = "") -> Place:
        """This machine, with the engine that runs ``card`` or the ``build`` that did."""
        recipe = self._engines.of(card)
        machine = self.machine()
        variant = f"{recipe.name} {recipe.build}".lower()
        able = any(name in variant for name in _GPU_BUILDS)
        notes: tuple[str, ...] = ()
        if machine.gpus and not able:
            notes = ("The engine in use computes on the processor; see: inhouse engine list",)
        gpus = machine.gpus if able else ()
        return Place(machine, self._free(), True, build or recipe.build, gpus, notes)

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
        free = place.free
        if order.context and order.users:
            free = ENDLESS
        try:
            laid = self._laid_out(card, place, order.context, free)
        except OutOfMemory:
            laid = self._laid_out(card, place, order.context, ENDLESS)
        if order.context and laid["context_length"] < min(
            order.context, card.context_length or order.context
        ):
            laid = self._laid_out(card, place, order.context, ENDLESS)
        base = llamacpp.load_of(card, laid["kv_cache_type"], laid["batch"])
        return dataclasses.replace(
            base,
            context=laid["context_length"],
            slots=laid["slots"],
            mmap=laid["mmap"],
            features=_features(place),
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

    def where(self, found: Found, place: Place) -> Where:
        """What predictions for a model at a place are kept under."""
        name = machines.fingerprint(place.machine)
        return Where(name, place.build, found.card.digest, found.card.quantization)

    def host(self, found: Found, place: Place) -> Host:
        """The place with the rates that were learnt there, or else are usual."""
        where = self.where(found, place)
        cores, bandwidth = place.machine.physical_cores, place.machine.bandwidth.read
        decode, prefill = self.history.rate("decode", where), self.history.rate("prefill", where)
        cards = None if decode and prefill else _gpu_rates(place.gpus)
        if bandwidth:
            usual = prior(bandwidth, cores)
            decode, prefill = decode or usual[0], prefill or usual[1]
        return Host(place.free, cores, decode, prefill, place.gpus, cards)

    @staticmethod
    def _subject(found: Found) -> Subject:
        card = found.card
        return Subject(
            str(card.name), found.shape, card.parameters, card.size, card.quantization, card.context_length
        )

    def planned(self, found: Found, place: Place, load: Load, prompt: int) -> Planned:
        """The plan of a load with what was learnt so far."""
        host, subject = self.host(found, place), self._subject(found)
        options = smaller(found, host, load)
        return make(subject, host, load, prompt=prompt, smaller=options)

    def _keep(self, found: Found, place: Place, planned: Planned, prompt: int) -> None:
        """Write the prediction down, to be held against what comes of it here."""
        if not place.here or found.source != "stored" or not planned.speed or planned.load.slots > 1:
            return
        where = self.where(found, place)
        self.history.expect(where, "decode", prompt, told(planned.speed.decode))
        self.history.expect(where, "prefill", prompt, told(planned.speed.prefill))

    def expected_memory(self, found: Found, place: Place, load: Load) -> tuple[float, float, float]:
        """(bytes, low, high) that a loaded model is expected to take before it answers: the formula with what
        it was found to lack."""
        lacks, count = self.history.surplus(self.where(found, place))
        middle = self.formula(found, load) + lacks
        width = max(0.05 * middle, 100 * 2**20) if not count else max(0.03 * middle, 32 * 2**20)
        return (middle, middle - width, middle + width)

    @staticmethod
    def formula(found: Found, load: Load) -> int:
        """Bytes that a loaded model takes before it answers, by the formula alone."""
        return sized(found.shape, load, load.context, load.slots).at_rest

    # -- the engine's own words ----------------------------------------------------------------

    def _exact(self, found: Found, place: Place, load: Load, order: PlanOrder) -> dict[str, Any]:
        """The engine's own reckoning beside the formula. Raises BadRequest where there is no file."""
        if not found.card.weights or order.quant or not place.here:
            raise BadRequest(
                "The exact reckoning reads the file on this machine.",
                hint="Pull the model first, and plan it as it is.",
                param="exact",
            )
        tuning = dataclasses.replace(
            found.card.tuning, slots=load.slots, kv_cache_type=load.k_type, engine=""
        )
        card = dataclasses.replace(found.card, tuning=tuning)
        laid = self._laid_out(card, place, load.context, ENDLESS)
        laid |= {"context_length": load.context, "slots": load.slots, "memory_limit": 0}
        parts = exact.reckon(laid, os.environ)
        formula = sized(found.shape, load, load.context, load.slots)
        mine = formula.weights + formula.kv + formula.compute
        total = sum(part.total for part in parts)
        kept = sum(part.model + part.context for part in parts)
        plain = formula.weights + formula.kv  # laid out without a mapped file: nothing is there twice
        tokens, expected = load.context * load.slots, (float(plain), float(plain), float(plain))
        self.history.came(self.where(found, place), "exact", tokens, expected, (kept, kept - plain))
        return {
            "build": f"{llamacpp.WHEEL} {llamacpp.wheel().version}",
            "parts": [asdict(part) | {"total": part.total} for part in parts],
            "total": total,
            "formula": mine,
            "off": (mine - total) / total if total else 0.0,
        }


def _features(place: Place) -> frozenset[str]:
    """The instruction sets that the engine uses: the wheel is built for AVX2."""
    wheel = place.build.startswith(llamacpp.WHEEL)
    return frozenset(name for name in place.machine.features if not (wheel and name.startswith("avx512")))


def _gpu_rates(gpus: tuple[Gpu, ...]) -> tuple[Rate, Rate] | None:
    """Rates of the slowest GPU that is known, wide; None where none is in the table."""
    known = [bandwidth for gpu in gpus if (bandwidth := gpu_bandwidth(gpu.name))]
    if not known:
        return None
    slowest = min(known)
    decode, prefill = GPU_DECODE_PRIOR, GPU_PREFILL_PRIOR
    return (
        Rate(Range(decode[0] * slowest, decode[1] * slowest), "nothing"),
        Rate(Range(prefill[0] * slowest, prefill[1] * slowest), "nothing"),
    )


__all__ = ["Planning"]
