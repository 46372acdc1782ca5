"""The health watchdog of one worker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

Healthy = Callable[[float], Awaitable[bool]]


def interval(hang_timeout: float) -> float:
    """Seconds between probes: several within the time-out, none of them often."""
    return min(5.0, hang_timeout / 5)


async def until_hung(healthy: Healthy, hang_timeout: float) -> None:
    """Return when ``healthy`` has not said yes for ``hang_timeout`` seconds; else run until cancelled.

    The clock is monotonic, and at least three probes in a row must have failed: a machine that slept
    or a loop that stalled is no reason to kill a worker.
    """
    clock = asyncio.get_running_loop().time
    pause = interval(hang_timeout)
    last, failures = clock(), 0
    while True:
        await asyncio.sleep(pause)
        if await healthy(pause * 1.5):
            last, failures = clock(), 0
            continue
        failures += 1
        if failures >= 3 and clock() - last >= hang_timeout:
            return
