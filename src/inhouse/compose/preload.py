"""Loads models when the server starts, so that nobody has to wait for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from ..core.errors import InhouseError
from ..core.journal import Record
from ..core.requests import Caller, Load
from ..journal import Journal
from ..runtime import Runtime

log = logging.getLogger("inhouse.server")


async def preload(runtime: Runtime, journal: Journal, names: Iterable[str]) -> None:
    """Load every one of ``names``; what fails is logged and written down, and the others load."""
    loads = (_load(runtime, journal, name, number) for number, name in enumerate(names, 1))
    for error in await asyncio.gather(*loads, return_exceptions=True):
        if isinstance(error, Exception):
            log.error("loading at the start failed", exc_info=error)


async def _load(runtime: Runtime, journal: Journal, name: str, number: int) -> None:
    caller = Caller(f"preload-{number}", endpoint="INHOUSE_PRELOAD")
    try:
        async for _ in runtime.run(Load(model=name), caller):
            pass
    except InhouseError as error:
        log.warning("could not load %s at the start: %s", name, error.message)
        cause = f"It could not be loaded at the start: {error.message}"
        journal.write(Record("notice", name, cause, error.hint, caller.request_id))
