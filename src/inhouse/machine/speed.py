"""How fast the memory is: measured once for a machine by a program of its own, and kept."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import psutil

from .asking import native
from .machine import Bandwidth, Machine, Trouble
from .natives.bandwidth import LEAST as PER_THREAD
from .records import fingerprint

Measure = Literal["no", "once", "again"]
"""Whether the memory's speed is measured: not at all, if it is not known, in any case."""

FILE: Final = "machine.json"
TIMEOUT: Final = 10.0
BUSY: Final = 0.25
"""Share of the CPUs used by others from which on a measurement is only a lower bound."""

_TIMES_L3: Final = 4
_LEAST: Final = 64 * 2**20
_SHARE: Final = 4
_MOST_THREADS: Final = 256
_MOST_KEPT: Final = 16
_lock = threading.Lock()


def known(machine: Machine, home: Path) -> Machine:
    """The machine with the bandwidth that was measured on it before, if it was."""
    return replace(machine, bandwidth=_kept(home).get(fingerprint(machine), Bandwidth()))


def measured(machine: Machine, home: Path, *, again: bool = False) -> Machine:
    """The machine with its memory's bandwidth; measures (about a second) when it is not known, or was
    measured while others used the CPUs. ``again`` measures in any case.

    Blocking, never on an event loop. What goes wrong is a trouble of the machine, not an error.
    """
    with _lock:
        before = _kept(home).get(fingerprint(machine), Bandwidth())
        if before.read and before.busy < BUSY and not again:
            return replace(machine, bandwidth=before)
        now, why = measure(machine)
        if why:
            troubles = (*machine.troubles, Trouble("memory bandwidth", why))
            return replace(machine, bandwidth=before, troubles=troubles)
        # Others can only take away: what was measured beside them never replaces a faster one.
        best = before if before.read > now.read and now.busy >= BUSY else now
        _keep(home, fingerprint(machine), best)
        return replace(machine, bandwidth=best)


def measure(machine: Machine) -> tuple[Bandwidth, str]:
    """Measure now; or why it could not be done. Blocking for about a second."""
    cpus = _cpus(machine)
    size = max(_LEAST, _TIMES_L3 * machine.caches.l3_total)
    if max(size, len(cpus) * PER_THREAD) > machine.memory_available // _SHARE:
        return Bandwidth(), "there is too little free memory to measure with"
    order = json.dumps({"size": size // len(cpus), "cpus": cpus})
    before, began = _used(), time.perf_counter()
    answer = native("bandwidth", order, timeout=TIMEOUT)
    spent = time.perf_counter() - began
    if not answer.text:
        return Bandwidth(), answer.why or "the test printed nothing"
    try:
        told = msgspec.json.decode(answer.text, type=dict[str, float])
        others = max(0.0, _used() - before - told["cpu"]) / max(spent, 1e-9) / (os.cpu_count() or 1)
        read, copy = int(told["read"]), int(told["copy"])
    except (msgspec.DecodeError, KeyError, ValueError):
        return Bandwidth(), "the test's answer has another form than expected"
    return Bandwidth(read, copy, len(cpus), round(min(1.0, others), 3), round(time.time(), 1)), ""


def _used() -> float:
    """CPU seconds that the whole system has worked so far."""
    now = psutil.cpu_times()
    return float(now.user + now.system + getattr(now, "nice", 0.0) + getattr(now, "steal", 0.0))


def _cpus(machine: Machine) -> list[int]:
    """One logical CPU of each physical core."""
    cores = machine.one_each or tuple(range(machine.physical_cores))
    return list(cores[: min(machine.physical_cores, _MOST_THREADS)])


def _kept(home: Path) -> dict[str, Bandwidth]:
    """What was measured, by fingerprint; a broken file is as none."""
    try:
        told = msgspec.json.decode((home / FILE).read_bytes(), type=dict[str, Any])
        return msgspec.convert(told.get("bandwidth", {}), dict[str, Bandwidth])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _keep(home: Path, name: str, bandwidth: Bandwidth) -> None:
    """Replace the file at once or not at all; a home that cannot be written keeps nothing."""
    newest = sorted({**_kept(home), name: bandwidth}.items(), key=lambda pair: pair[1].when)[-_MOST_KEPT:]
    told = {key: asdict(value) for key, value in newest}
    with contextlib.suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=home, prefix=FILE)
        with os.fdopen(handle, "w") as file:
            file.write(json.dumps({"bandwidth": told}, indent=1))
        Path(aside).replace(home / FILE)
