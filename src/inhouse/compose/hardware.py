"""What is told of this machine: hardware, engines, and what to do about each weakness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from .. import __version__, machine
from ..config import Config
from ..engines.engines import Engines
from ..engines.variants import view
from ..machine import Machine, Measure
from ..workshop import Workshop


class Hardware:
    """``models`` counts the models that are here. Blocking throughout."""

    def __init__(
        self, config: Config, engines: Engines, workshop: Workshop, models: Callable[[], int]
    ) -> None:
        self._config = config
        self._engines = engines
        self._workshop = workshop
        self._models = models

    def report(self, measure: Measure = "no") -> dict[str, Any]:
        """Hardware, engines and findings as JSON values, looked at now.

        ``measure``: whether the memory's speed is measured if it was not before, or ``again`` in any
        case (a second in which nothing else should run).
        """
        now = self._now(measure)
        available = self._engines.available()
        backends = view.backends(self._engines.candidates(), now.os)
        default, kernels = self._engines.default.name, self._engines.kernels()
        ours = {default: kernels.facts()} if kernels else {}
        found = machine.findings(
            now,
            engines=[
                asdict(one)
                | {"backend": backends.get(one.name, ""), "kernels": ours.get(f"llama.cpp ({one.name})")}
                for one in available
            ],
            tools=[asdict(one) for one in self._workshop.tools()],
            builds=view.for_gpus(now),
            home=self._config.home,
            models=self._models(),
        )
        return {
            "version": __version__,
            "machine": machine.to_json(now),
            "engines": [asdict(one) for one in available],
            "engine": default,
            "kernels": ours.get(default),
            "findings": [asdict(one) for one in found],
        }

    def _now(self, measure: Measure) -> Machine:
        home = self._config.home
        now = machine.detect(home)
        if measure == "no":
            return machine.known(now, home)
        return machine.measured(now, home, again=measure == "again")
