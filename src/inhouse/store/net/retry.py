"""When another try makes sense, and after how long."""

from __future__ import annotations

import email.utils
import random
import threading
import time
from collections.abc import Mapping
from typing import Final

from ...core.errors import SourceFailed

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


def pause(seconds: float, stopped: threading.Event) -> None:
    """Sleep, but not after a stop."""
    stopped.wait(seconds)


def too_long(status: int, seconds: float) -> SourceFailed:
    """The source wants more time than anybody waits for."""
    return SourceFailed(
        f"The source is busy (HTTP {status}) and asks to come back in {seconds:.0f} s.",
        hint="Try again later; what was fetched is kept.",
        retry_after=seconds,
    )
