"""What endpoints may use, handed in by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...catalog import Catalog
from ...config import Config
from ...fleet import Fleet
from ...ledger import Meter
from ...runtime import Runtime
from ...store import Store


@dataclass(frozen=True, slots=True)
class Services:
    """``machine`` reports the hardware and the engines (blocking: call it in a thread);
    ``draining`` is true once the server stops; ``build`` names the engine builds in use;
    ``routes`` is the table the reference is made from.
    """

    config: Config
    runtime: Runtime
    catalog: Catalog
    store: Store
    fleet: Fleet
    meter: Meter
    machine: Callable[[], dict[str, Any]]
    draining: Callable[[], bool]
    build: dict[str, str]
    routes: tuple[Any, ...] = ()
