"""Work that is of no use after a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

from .errors import DeadlineExceeded

T = TypeVar("T")


async def in_time(work: Awaitable[T], deadline: float | None) -> T:
    """What ``work`` brings, if it does before ``deadline`` (by ``time.monotonic``, None is never); else it
    is cancelled. Raises DeadlineExceeded."""
    limit = asyncio.timeout(None if deadline is None else deadline - time.monotonic())
    try:
        async with limit:
            return await work
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineExceeded(
            "The request's own deadline passed while it was prepared; it was not begun.",
            hint="Give it more time (x-request-timeout), or try again later.",
        ) from None


__all__ = ["in_time"]
