"""What talks to a started worker, and where the prompts of workers are saved."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..config import Config
from ..core.engine import Launch
from ..core.errors import InhouseError
from ..core.models import Card
from ..core.requests import LoadOptions
from ..engines.prefixes import model_part
from ..store import Store
from ..upstream import Rules, Shelf, WorkerEngine
from ..upstream.openai import OpenAIEngine

_log = logging.getLogger(__name__)

Plan = Callable[[Card, LoadOptions], Launch]


class Connecting:
    """``root`` is the folder of saved prompts, "" where none are to be saved."""

    def __init__(self, config: Config, store: Store) -> None:
        engine = config.engine
        self._store = store
        self.shelf = Shelf(config.home / "prefixes", engine.prefix_cache)
        self._rules = Rules(minimum=engine.prefix_tokens, sharing=engine.prompt_sharing)
        self.root = str(self.shelf.root) if engine.prefix_cache else ""

    def connect(self, card: Card, launch: Launch) -> WorkerEngine | OpenAIEngine:
        """The engine that talks to a started worker."""
        if launch.wire == "openai":
            return OpenAIEngine(card, launch)
        return WorkerEngine(card, launch, shelf=self.shelf, rules=self._rules)

    def launching(self, launch: Plan) -> Plan:
        """``launch`` after a look at what is saved: blocking, as it is itself."""

        def swept(card: Card, options: LoadOptions) -> Launch:
            self.sweep()
            return launch(card, options)

        return swept

    def sweep(self) -> None:
        """Forget the saved prompts of models that are gone; all, if none are to be saved. Blocking. Where it
        cannot be told which models there are, all stay, and nobody's load fails of it."""
        try:
            wanted = self._wanted()
        except (InhouseError, OSError) as error:
            _log.warning("saved prompts were not looked through: %s", error)
            return
        self.shelf.sweep(wanted)

    def _wanted(self) -> set[str]:
        """Whose saved prompts are kept. Raises StoreError."""
        return {model_part(card.weights_digest) for card in self._store.cards()} if self.root else set()

    def sizes(self) -> tuple[int, int]:
        """Bytes of all saved prompts, and of those that nobody can use any more. Blocking."""
        return self.shelf.sizes(self._wanted())

    def prune(self, *, dry_run: bool, everything: bool) -> int:
        """Delete the saved prompts that nobody can use any more, or all; the bytes freed. Blocking."""
        total, gone = self.sizes()
        if dry_run:
            return total if everything else gone
        self.sweep()
        if everything:
            self.shelf.clear()
        return max(0, total - self.sizes()[0])
