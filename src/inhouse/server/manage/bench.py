"""How fast a model is, measured through the fleet."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Protocol

from ...dialects.inhouse.measuring import BenchBody, decode_bench
from ...store import PullEvent
from .jobs import Begun, Work

if TYPE_CHECKING:
    from .services import Services


class Measuring(Protocol):
    """What the composition root hands in."""

    def bench(self, body: BenchBody) -> AsyncGenerator[PullEvent, None]: ...


def _bench(services: Services, body: bytes, trusted: bool) -> Begun:
    return Begun(services.measuring.bench(decode_bench(body)))


bench = Work(_bench)
