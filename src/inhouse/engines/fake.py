"""The fake engine as a recipe: models that recite scripts, for tests, benchmarks and trying things out.

Its options are those of ``workers.fake_script.Order`` and ``Script``, with ``memory`` (bytes a worker
claims to need, so that eviction can be tried) and ``cards``: further options for one model, by name.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.engine import Launch
from ..core.errors import BadRequest
from ..core.models import Card, Footprint, ModelName
from ..core.requests import LoadOptions
from .child import scrubbed
from .recipe import Room, Settings, check_engine
from .workers.fake_script import BadScript, Order
from .workers.fake_text import TEMPLATE

_LONGEST = 131_072  # tokens that a card promises
_SLOTS = 4
_CONTEXT = 8192
_KV = 1024


class FakeRecipe:
    """Recipe of the fake engine. ``settings`` is the engine section or the options themselves.

    Raises BadRequest when an option is unknown.
    """

    name = "fake"
    build = "fake"

    def __init__(self, settings: Settings | Mapping[str, Any], *, state: Path | None = None) -> None:
        if isinstance(settings, Mapping):
            options = dict(settings)
        else:
            options = _parse(settings.fake)
            given = {"context_length": settings.context_length, "slots": settings.slots}
            options = {key: value for key, value in given.items() if value} | options
        self._special: dict[str, dict[str, Any]] = options.pop("cards", {})
        self._options = options
        self._cards = tuple(_card(*model) for model in _MODELS)
        for card in self._cards:
            self._order(card, LoadOptions(), "", "")

    @property
    def grammars(self) -> frozenset[str]:
        """A script obeys no grammar; all are accepted, so that the way there can be tested."""
        return frozenset({"gbnf", "lark"})

    def cards(self) -> tuple[Card, ...]:
        """``fake:latest``, ``fake-b:latest``, ``fake-embed:latest`` and ``fake-rerank:latest``."""
        return self._cards

    def can(self, card: Card) -> bool:
        """It recites for any model."""
        return True

    def launch(
        self, card: Card, options: LoadOptions, *, address: str, secret: str, room: Room | None = None
    ) -> Launch:
        """How to start a fake worker; ``room`` does not matter to it. Raises BadRequest."""
        check_engine(card, self.name)
        order, memory = self._order(card, options, address, secret)
        slots, context_length = order["slots"], order["context_length"]
        footprint = card.footprint
        kept = {key: value for key, value in os.environ.items() if key.startswith("COVERAGE_")}
        return Launch(
            engine=self.name,
            command=(sys.executable, "-P", "-m", f"{__package__}.workers.fake"),
            address=address,
            env=scrubbed(os.environ) | kept,
            stdin=json.dumps(order).encode() + b"\n",
            secret=secret,
            slots=slots,
            context_length=context_length,
            memory=memory or footprint.weights + footprint.kv_per_token * context_length * slots,
            build=self.build,
            grammars=self.grammars,
        )

    def _order(
        self, card: Card, options: LoadOptions, address: str, secret: str
    ) -> tuple[dict[str, Any], int]:
        """What the worker reads, and the memory it is said to need (0: by the card)."""
        name = str(card.name)
        order = {"slots": _SLOTS, "context_length": _CONTEXT, **self._options, **self._special.get(name, {})}
        memory = int(order.pop("memory", 0))
        if wanted := options.context_length or card.tuning.context_length:
            order["context_length"] = min(wanted, card.context_length or _LONGEST)
        if card.tuning.slots:
            order["slots"] = card.tuning.slots
        order |= {"address": address, "secret": secret, "model": name}
        try:
            Order.of(order)
        except BadScript as error:
            raise BadRequest(
                f"an option of the fake engine is wrong: {error}", hint="Check INHOUSE_FAKE."
            ) from error
        return order, memory


def _parse(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text or "{}")
    except ValueError as error:
        raise BadRequest(f"INHOUSE_FAKE is not JSON: {error}", hint="It must be a JSON object.") from error
    if not isinstance(options, dict):
        raise BadRequest("INHOUSE_FAKE is not a JSON object", hint='For instance: {"tokens": 100}')
    return options


_TALKS = ("completion", "chat", "tools", "insert", "thinking")
_MODELS: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("fake", 64 * 2**20, _TALKS),
    ("fake-b", 96 * 2**20, _TALKS),
    ("fake-embed", 32 * 2**20, ("embedding",)),
    ("fake-rerank", 32 * 2**20, ("rerank",)),
)


def _card(name: str, weights: int, capabilities: tuple[str, ...]) -> Card:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return Card(
        name=ModelName.parse(name),
        digest=digest,
        weights=f"{name}.fake",
        weights_digest=digest,
        size=weights,
        footprint=Footprint(weights, _KV),
        capabilities=frozenset(capabilities),
        format="fake",
        family="fake",
        parameters=1_000_000,
        quantization="F32",
        context_length=_LONGEST,
        embedding_length=32,
        template=TEMPLATE,
        control_tokens=("<|im_start|>", "<|im_end|>"),
        licence="Apache-2.0",
        origin="built in",
    )
