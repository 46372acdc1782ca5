"""How a model's worker is started: its engine, the room it may take, where it listens."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .. import machine, server
from ..config import Config
from ..core.engine import Launch
from ..core.errors import InhouseError, LoadFailed, OutOfMemory
from ..core.models import Card
from ..core.requests import LoadOptions
from ..engines.engines import Engines
from ..engines.recipe import Recipe, Room
from ..fleet import FleetSettings, Size
from ..fleet.shortage import CAPPED_NOTICE, Caps, hopeless, ran_out, smaller, told
from ..machine import Machine
from ..machine.budget import budget, device_budget, room
from ..store import Store


class Launching:
    """``sockets`` is a private folder for workers. ``taken`` says how much memory they have now."""

    def __init__(
        self, config: Config, machine: Machine, engines: Engines, store: Store, sockets: Path
    ) -> None:
        self._config = config
        self._machine = machine
        self._engines = engines
        self._store = store
        self._sockets = sockets
        self._caps = Caps()
        self.taken: Callable[[], Size] = Size
        self.prefixes = ""
        self.tune: Callable[[Card, Recipe, Room], tuple[Card, Room]] = lambda card, recipe, room: (card, room)

    def memory(self) -> int:
        """Bytes that models may take."""
        return budget(self._machine, self._config.fleet.memory)

    @staticmethod
    def available(mapped: int = 0) -> int:
        """Bytes that the machine has left for models if ``mapped`` bytes of files stay in memory. Quick."""
        return machine.available(mapped=mapped)

    def settings(self) -> FleetSettings:
        """What the fleet goes by."""
        fleet = self._config.fleet
        return FleetSettings(
            keep_alive=fleet.keep_alive,
            max_loaded=fleet.max_loaded,
            memory=self.memory(),
            device_memory=device_budget(self._machine),
            max_loads=fleet.max_loads,
            key_concurrency=fleet.key_concurrency,
            key_queue=fleet.key_queue,
            model_concurrency=fleet.model_concurrency,
            max_queue=fleet.max_queue,
            queue_timeout=fleet.queue_timeout,
            load_timeout=fleet.load_timeout,
            hang_timeout=fleet.hang_timeout,
            log_dir=self._config.home / "logs",
        )

    def launch(self, card: Card, options: LoadOptions) -> Launch:
        """How to start a worker for ``card``. Blocking. Raises BadRequest, OutOfMemory, LoadFailed."""
        if card.files:
            self._store.check(card)
        room, cap = self.room(), self._caps.of(card.digest, time.monotonic())
        if cap is None:
            return self._planned(card, options, room)
        return _noting(self._planned(card, options, min(room, cap)), CAPPED_NOTICE)

    def room(self) -> int:
        """Bytes that a model may take now, if all others make room."""
        taken = self.taken()
        return room(self.memory(), self.available(taken.mapped), taken.resident)

    def beside(self) -> int:
        """Bytes that models may take beside those that are loaded. Blocking."""
        return self.room() - self.taken().resident

    def _planned(self, card: Card, options: LoadOptions, memory: int) -> Launch:
        here = self._machine
        pages = here.huge_pages
        room = Room(memory, here.engine_cores, here.gpus, prefixes=self.prefixes, huge_pages=pages)
        address, secret = self._address()
        recipe = self._engines.of(card, options)
        card, room = self.tune(card, recipe, room)
        return recipe.launch(card, options, room=room, address=address, secret=secret)

    def relaunch(
        self, card: Card, options: LoadOptions, failed: Launch, error: InhouseError
    ) -> Launch | None:
        """What to try after ``failed`` did not become ready (LoadFailed; None to give up), or died later
        (None: the same again). Blocking.

        A plan that was too large is made smaller, a broken build is left for the next one, one that keeps
        crashing with our kernels goes on without them. Raises OutOfMemory with the numbers when nothing
        smaller fits.
        """
        if not isinstance(error, LoadFailed):
            return self._revived(card, options, failed, error)
        if ran_out(error):
            return self._smaller(card, options, failed)
        if self._engines.fall_back(card, failed, error) is None:
            return None
        launch = self._planned(card, options, self.room())
        return _noting(launch, f"{_build(failed)} could not load it, {_build(launch)} does: {error.message}")

    def _revived(self, card: Card, options: LoadOptions, died: Launch, error: InhouseError) -> Launch | None:
        if not self._engines.blame(died, error):
            return None
        return _noting(
            self._planned(card, options, self.room()),
            f"{_build(died)} crashed again and again; it goes on without them: {error.message}",
        )

    def _smaller(self, card: Card, options: LoadOptions, failed: Launch) -> Launch:
        limit = smaller(failed)
        try:
            launch = self._planned(card, options, limit)
        except OutOfMemory as error:
            raise hopeless(str(card.name), failed, self.available(), error) from error
        if launch.memory >= failed.memory:
            raise hopeless(str(card.name), failed, self.available())
        self._caps.put(card.digest, limit, time.monotonic())
        return _noting(launch, told(failed, launch))

    def _address(self) -> tuple[str, str]:
        if sys.platform == "win32":
            with contextlib.closing(server.bind("127.0.0.1", 0)) as probe:
                return f"127.0.0.1:{probe.getsockname()[1]}", secrets.token_hex(32)
        return str(self._sockets / f"{secrets.token_hex(6)}.sock"), ""


def _noting(launch: Launch, notice: str) -> Launch:
    return dataclasses.replace(launch, notices=(*launch.notices, notice))


def _build(launch: Launch) -> str:
    kernels = "with Inhouse's kernels" if launch.kernels else ""
    return " ".join(word for word in (launch.engine, launch.variant, kernels) if word)
