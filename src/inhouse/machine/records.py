"""A machine as JSON and back, and the short name by which what was measured on it is kept."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import msgspec

from ..core.errors import BadRequest
from .machine import Machine

_GIB: Final = 2**30
_DIGITS: Final = 16
_HINT: Final = "Make the file with: inhouse doctor --json"


def to_json(machine: Machine) -> dict[str, Any]:
    """Every fact, and the fingerprint with them, as plain values that ``from_json`` reads back."""
    return {**asdict(machine), "fingerprint": fingerprint(machine)}


def from_json(data: object) -> Machine:
    """A machine from ``to_json``, or from the whole answer of ``inhouse doctor --json``.

    ``memory_total`` and ``physical_cores`` must be there, the rest may be missing; fields that are not
    known are passed over. Raises BadRequest that names the field with a bad value.
    """
    if isinstance(data, Mapping) and isinstance(data.get("machine"), Mapping):
        data = data["machine"]
    if not isinstance(data, Mapping):
        raise BadRequest("A machine is a JSON object.", hint=_HINT, param="machine")
    for name in ("memory_total", "physical_cores"):
        if name not in data:
            raise BadRequest(f"The machine has no '{name}'.", hint=_HINT, param=f"machine.{name}")
    whole = {
        "os": "",
        "arch": "",
        "cpu": "",
        "features": [],
        "logical_cores": data["physical_cores"],
        "memory_available": data["memory_total"],
        **data,
    }
    try:
        machine = msgspec.convert(whole, Machine)
    except msgspec.ValidationError as error:
        said, _, place = str(error).partition(" - at `$")
        field = "machine" + (place.rstrip("`") or "")
        raise BadRequest(f"The machine's file is wrong: {said}.", hint=_HINT, param=field) from error
    for less, more in (("memory_available", "memory_total"), ("physical_cores", "logical_cores")):
        if getattr(machine, less) > getattr(machine, more):
            raise BadRequest(
                f"The machine has more '{less}' than '{more}'.", hint=_HINT, param=f"machine.{less}"
            )
    return machine


def _coarse(size: int) -> int:
    """GiB, rounded up in steps of an eighth to a quarter: firmware and kernels keep a little for
    themselves, and not always as much, so real sizes lie just below round ones."""
    gib = max(1, -(-size // _GIB))
    step = max(1, 1 << (gib.bit_length() - 1) >> 2)
    return -(-gib // step) * step


def _same_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()


def fingerprint(machine: Machine) -> str:
    """Sixteen hex digits for the CPU, its instruction sets, usable cores, installed memory and GPUs.

    Free memory, drivers, disks and the system's version do not change it.
    """
    facts = {
        "arch": machine.arch,
        "cpu": _same_name(machine.cpu),
        "features": sorted(machine.features),
        "cores": [machine.physical_cores, machine.logical_cores, machine.quota],
        "memory": _coarse(machine.memory_installed or machine.memory_total),
        "gpus": sorted([gpu.vendor, gpu.device or _same_name(gpu.name)] for gpu in machine.gpus),
    }
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def summary(machine: Machine) -> str:
    """One line that says what figures were taken on."""
    memory = machine.memory_total / 2**30
    gpus = "".join(f", {gpu.name}" for gpu in machine.gpus)
    return (
        f"{machine.cpu or machine.arch}, {machine.physical_cores} cores, {memory:.0f} GiB{gpus}, {machine.os}"
    )
