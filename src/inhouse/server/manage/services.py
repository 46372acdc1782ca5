"""What endpoints may use, handed in by the composition root."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...archive import Archive
from ...catalog import Catalog
from ...config import Config
from ...dialects.inhouse.plan import PlanOrder
from ...fleet import Fleet
from ...journal import Journal, Trace, Traces
from ...ledger import Meter
from ...machine import Measure
from ...runtime import Runtime
from ...store import Store
from ..answers import Scope, header
from ..kept.background import Background
from ..keys import Keys
from .bench import Measuring
from .engines import Builds
from .tune import Tuner
from .upkeep import Prompts


@dataclass(frozen=True, slots=True)
class Services:
    """``machine`` reports the hardware and the engines, and measures the memory's speed or not (blocking:
    call it in a thread);
    ``draining`` is true once the server stops; ``builds`` knows the builds of engines;
    ``measuring`` says how fast models are, ``tuner`` what they are run best with;
    ``routes`` is the table the reference is made from. ``token``: whoever sends it in the header
    ``x-inhouse-local`` has read a file that only this server's user can read. ``archive``: what clients
    asked us to keep; ``background``: the responses that run on without a client; ``journal``: what
    happened and why; ``traces``: the ways of single requests, ``running`` those not over yet, by id and
    tenant (in the loop); ``plan`` says what a load would take (blocking); ``keys``: those that are let in;
    ``prompts``: those that workers saved.
    """

    config: Config
    runtime: Runtime
    catalog: Catalog
    store: Store
    fleet: Fleet
    meter: Meter
    archive: Archive
    machine: Callable[[Measure], dict[str, Any]]
    draining: Callable[[], bool]
    builds: Builds
    measuring: Measuring
    tuner: Tuner
    journal: Journal
    traces: Traces
    running: Callable[[str, str | None], list[Trace]]
    plan: Callable[[PlanOrder], dict[str, Any]]
    prompts: Prompts
    routes: tuple[Any, ...] = ()
    token: str = ""
    keys: Keys = field(default_factory=Keys)
    background: Background = field(default_factory=Background)

    def trusts(self, scope: Scope) -> bool:
        """Whether a request comes from this user's own command line on this machine."""
        given = header(scope, b"x-inhouse-local") or ""
        return bool(self.token) and hmac.compare_digest(
            given.encode("latin-1", "replace"), self.token.encode()
        )
