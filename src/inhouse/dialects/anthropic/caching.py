"""``cache_control``: where a client wants the prompt kept, counted over a whole request."""

from __future__ import annotations

from ...core.errors import BadRequest
from ..fields import Fields, missing

MOST = 4
_TTL = {"5m": 300.0, "1h": 3600.0}


class Pins:
    """Collects the breakpoints. ``seconds`` is the longest time asked for, None without any."""

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._count = 0

    def read(self, block: Fields) -> None:
        """Read the breakpoint of one block, tool or request. Raises BadRequest for more than four."""
        wanted = block.mapping("cache_control")
        if wanted is None:
            return
        if wanted.choice("type", "ephemeral") is None:
            missing(wanted.at("type"), "'ephemeral'")
        ttl = _TTL[wanted.choice("ttl", *_TTL) or "5m"]
        self.seconds = max(ttl, self.seconds or 0)
        self._count += 1
        if self._count > MOST:
            raise BadRequest(
                f"A maximum of {MOST} blocks with cache_control may be provided. Found {self._count}.",
                hint="Mark only the ends of what stays the same.",
                param=block.at("cache_control"),
            )
