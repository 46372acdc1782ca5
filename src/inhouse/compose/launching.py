"""How a model's worker is started: its engine, the room it may take, where it listens."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from .. import machine, server
from ..config import Config
from ..core.engine import Launch
from ..core.errors import LoadFailed, OutOfMemory
from ..core.models import Card
from ..core.requests import LoadOptions
from ..engines.engines import Engines
from ..engines.recipe import Recipe, Room
from ..fleet import FleetSettings, Size
from ..machine import Machine
from ..store import Store

SHARE: Final = 0.8
"""Of the memory that was available at the start, what models may take unless the settings say."""

RESERVE: Final = 256 * 2**20
"""Bytes that a plan leaves to the machine, so that what was planned still fits when it is loaded."""

SMALLER: Final = 0.7
"""Of the memory of a plan that was too large, what the next one may take."""

CAPPED: Final = 600.0
"""Seconds for which a model that was too large is planned smaller from the start."""

_NO_MEMORY: Final = re.compile(
    r"SIGKILL|exit code 137|exit code -9\b|out of memory|std::bad_alloc|MemoryError|cannot allocate memory"
    r"|(?:failed|unable) to allocate|OutOfMemory|not enough (?:memory|space)",
    re.IGNORECASE,
)
"""What llama.cpp, ggml's backends, CUDA, Python and the kernel say, or how a process ends that the kernel
killed for its memory."""


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
        self._caps: dict[str, tuple[int, float]] = {}
        self.taken: Callable[[], Size] = Size
        self.prefixes = ""
        self.tune: Callable[[Card, Recipe, Room], tuple[Card, Room]] = lambda card, recipe, room: (card, room)

    def memory(self) -> int:
        """Bytes that models may take."""
        return self._config.fleet.memory or int(self._machine.memory_available * SHARE)

    def device_memory(self) -> int:
        """Bytes that models may take on GPUs with memory of their own; 0 where none is known."""
        return int(sum(gpu.free or gpu.memory for gpu in self._machine.gpus if not gpu.shared))

    @staticmethod
    def available(mapped: int = 0) -> int:
        """Bytes that the machine has left for models if ``mapped`` bytes of files stay in memory, which
        it counts as available itself outside of containers. Quick."""
        left = int(psutil.virtual_memory().available) - mapped
        return max(0, min(left, machine.available()))

    def settings(self) -> FleetSettings:
        """What the fleet goes by."""
        fleet = self._config.fleet
        return FleetSettings(
            keep_alive=fleet.keep_alive,
            max_loaded=fleet.max_loaded,
            memory=self.memory(),
            device_memory=self.device_memory(),
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
        room = self.room()
        cap, since = self._caps.get(card.digest, (0, 0.0))
        if not cap or time.monotonic() - since > CAPPED:
            return self._planned(card, options, room)
        launch = self._planned(card, options, min(room, cap))
        return _noting(launch, "It is planned smaller than usual: it ran out of memory a short while ago.")

    def room(self) -> int:
        """Bytes that a model may take now, if all others make room."""
        return min(self.memory(), self._there())

    def beside(self) -> int:
        """Bytes that models may take beside those that are loaded. Blocking."""
        return min(self.memory() - self.taken().resident, self._there() - self.taken().resident)

    def _there(self) -> int:
        """Bytes that a model could have if no other was loaded."""
        taken = self.taken()
        return max(0, self.available(taken.mapped) + taken.resident - RESERVE)

    def _planned(self, card: Card, options: LoadOptions, memory: int) -> Launch:
        here = self._machine
        pages = here.huge_pages
        room = Room(memory, here.physical_cores, here.gpus, prefixes=self.prefixes, huge_pages=pages)
        address, secret = self._address()
        recipe = self._engines.of(card, options)
        card, room = self.tune(card, recipe, room)
        return recipe.launch(card, options, room=room, address=address, secret=secret)

    def relaunch(self, card: Card, options: LoadOptions, failed: Launch, error: LoadFailed) -> Launch | None:
        """What to try after ``failed`` did not become ready; None to give up. Blocking.

        A plan that was too large is made smaller, a broken build is left for the next one. Raises
        OutOfMemory with the numbers when nothing smaller fits.
        """
        if ran_out(error):
            return self._smaller(card, options, failed)
        if self._engines.fall_back(card, failed, error) is None:
            return None
        launch = self._planned(card, options, self.room())
        return _noting(launch, f"{_build(failed)} could not load it, {_build(launch)} does: {error.message}")

    def _smaller(self, card: Card, options: LoadOptions, failed: Launch) -> Launch:
        limit = int(failed.memory * SMALLER)
        try:
            launch = self._planned(card, options, limit)
        except OutOfMemory as error:
            raise OutOfMemory(
                f"The model ran out of memory while it loaded: {_mib(failed.memory)} MiB were planned,"
                f" {_mib(self.available())} MiB are available now, and nothing smaller than"
                f" {_mib(limit)} MiB can be planned.",
                hint=f"See what would fit: inhouse plan {card.name}",
                detail=error.message,
            ) from error
        if launch.memory >= failed.memory:
            raise OutOfMemory(
                f"The model ran out of memory while it loaded: {_mib(failed.memory)} MiB were planned,"
                f" {_mib(self.available())} MiB are available now.",
                hint=f"See what would fit: inhouse plan {card.name}",
            )
        self._caps[card.digest] = (limit, time.monotonic())
        return _noting(
            launch,
            f"It ran out of memory with {failed.slots} slots of {failed.context_length} tokens"
            f" ({_mib(failed.memory)} MiB), so it has {launch.slots} of {launch.context_length}"
            f" ({_mib(launch.memory)} MiB).",
        )

    def _address(self) -> tuple[str, str]:
        if sys.platform == "win32":
            with contextlib.closing(server.bind("127.0.0.1", 0)) as probe:
                return f"127.0.0.1:{probe.getsockname()[1]}", secrets.token_hex(32)
        return str(self._sockets / f"{secrets.token_hex(6)}.sock"), ""


def ran_out(error: LoadFailed) -> bool:
    """Did the load fail for want of memory, as far as its error and the worker's last words tell?"""
    return bool(_NO_MEMORY.search(f"{error.message}\n{error.hint}\n{error.detail}"))


def _noting(launch: Launch, notice: str) -> Launch:
    return dataclasses.replace(launch, notices=(*launch.notices, notice))


def _build(launch: Launch) -> str:
    return " ".join(word for word in (launch.engine, launch.variant) if word)


def _mib(size: int) -> int:
    return -(-size // 2**20)
