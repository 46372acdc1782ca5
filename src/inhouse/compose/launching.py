"""How a model's worker is started: its engine, the room it may take, where it listens."""

from __future__ import annotations

import contextlib
import secrets
import sys
from pathlib import Path

from .. import server
from ..config import Config
from ..core.engine import Launch
from ..core.errors import LoadFailed
from ..core.models import Card
from ..core.requests import LoadOptions
from ..engines.engines import Engines
from ..engines.recipe import Room
from ..machine import Machine
from ..store import Store
from ..upstream import WorkerEngine
from ..upstream.openai import OpenAIEngine

SHARE = 0.8
"""Of the memory that was available at the start, what models may take unless the settings say."""


class Launching:
    """``sockets`` is a private folder for workers."""

    def __init__(
        self, config: Config, machine: Machine, engines: Engines, store: Store, sockets: Path
    ) -> None:
        self._config = config
        self._machine = machine
        self._engines = engines
        self._store = store
        self._sockets = sockets

    def memory(self) -> int:
        """Bytes that models may take."""
        return self._config.fleet.memory or int(self._machine.memory_available * SHARE)

    def launch(self, card: Card, options: LoadOptions) -> Launch:
        """How to start a worker for ``card``. Blocking. Raises BadRequest, OutOfMemory, LoadFailed."""
        if card.files:
            self._store.check(card)
        return self._planned(card, options, self.memory())

    def _planned(self, card: Card, options: LoadOptions, memory: int) -> Launch:
        room = Room(memory, self._machine.physical_cores, self._machine.gpus)
        address, secret = self._address()
        return self._engines.of(card).launch(card, options, room=room, address=address, secret=secret)

    def relaunch(self, card: Card, options: LoadOptions, failed: Launch, error: LoadFailed) -> Launch | None:
        """What to try after ``failed`` did not become ready; None to give up. Blocking."""
        return None

    def _address(self) -> tuple[str, str]:
        if sys.platform == "win32":
            with contextlib.closing(server.bind("127.0.0.1", 0)) as probe:
                return f"127.0.0.1:{probe.getsockname()[1]}", secrets.token_hex(32)
        return str(self._sockets / f"{secrets.token_hex(6)}.sock"), ""

    @staticmethod
    def connect(card: Card, launch: Launch) -> WorkerEngine | OpenAIEngine:
        """The engine that talks to a started worker."""
        return OpenAIEngine(card, launch) if launch.wire == "openai" else WorkerEngine(card, launch)
