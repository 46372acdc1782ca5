"""When another try makes sense, and after how long."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Mapping
from typing import Final

from ..core.errors import SourceFailed
from .line import Broken

TRIES: Final = 5
LONGEST: Final = 8.0
PATIENCE: Final = 30.0
"""Seconds of Retry-After that are waited for; a longer one is the caller's to decide on."""

ALWAYS: Final = frozenset({408, 425, 429, 503})
WHEN_SAFE: Final = frozenset({500, 502, 504})
SAFE: Final = frozenset({"GET", "HEAD"})
IDEMPOTENT: Final = SAFE | {"PUT", "DELETE"}


def backoff(failures: int, unit: float) -> float:
    """Seconds before the next try: exponential, half of it by chance so that clients spread out."""
    whole = min(LONGEST, unit * 2.0 ** max(0, failures - 1))
    return whole * (0.5 + random.random() / 2)  # noqa: S311  (no secret)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of a Retry-After header (a number or a date), None without one."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), 10**9))
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time()) if text else None
    except (TypeError, ValueError, OverflowError):
        return None


def should_retry(method: str, status: int) -> bool:
    """Whether an answer is of the passing kind."""
    return status in ALWAYS or (status in WHEN_SAFE and method in SAFE)


def delay(error: Broken, failures: int, unit: float) -> float:
    """Seconds until the next try after a broken connection. Raises SourceFailed if it is too long."""
    if error.retry_after is None:
        return backoff(failures, unit)
    if error.retry_after > PATIENCE:
        raise too_long(error.retry_after) from error
    return error.retry_after


def too_long(seconds: float) -> SourceFailed:
    """The source wants more time than anybody waits for."""
    return SourceFailed(
        f"The source is busy and asks to come back in {seconds:.0f} s.",
        hint="Try again later; what was fetched is kept.",
        retry_after=seconds,
    )


def gave_up(error: Broken) -> SourceFailed:
    """The end of patience with a connection."""
    return SourceFailed(
        "The source cannot be reached or breaks off.",
        hint="Check the network and try again; what was fetched is kept.",
        detail=str(error),
    )
