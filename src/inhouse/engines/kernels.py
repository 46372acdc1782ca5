"""Our own native kernels: where their library is, and what a worker needs to run with them.

The library is no part of the engine: it is put in front of llama.cpp's own kernels in a worker's process
(``workers.kernels`` for the wheel, ``GGML_BACKEND_PATH`` for a native llama-server), tests itself there
against the engine's results, and stays out where it has any doubt.
"""

from __future__ import annotations

import importlib
import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..core.kernels import LABEL, Report

PACKAGE: Final = "inhouse_kernels"
BACKEND_PATH: Final = "GGML_BACKEND_PATH"
"""The variable in which llama.cpp looks for a library to load beside its own backends."""

REPORT: Final = "INHOUSE_KERNELS_REPORT"
SWITCH: Final = "INHOUSE_KERNELS"
ENDING: Final = ".kernels.json"
"""Of a worker's report, which lies beside its socket."""

_SOCKET: Final = ".sock"
_MACHINES: Final = ("x86_64", "amd64")


@dataclass(frozen=True, slots=True)
class Kernels:
    """Whether one build runs with our kernels: what its test reported, or why there was none, and what to do
    about that. ``library`` is "" where none is at hand."""

    library: str = ""
    report: Report = field(default_factory=Report)
    fix: str = ""

    @property
    def on(self) -> bool:
        return self.report.on and bool(self.library)

    @property
    def label(self) -> str:
        """What is added to the build's version: with kernels it is another build in all respects."""
        return f"{LABEL}{self.report.version}" if self.on else ""

    def facts(self) -> dict[str, Any]:
        """All of it as JSON values, for people."""
        return {**self.report.facts(), "on": self.on, "fix": self.fix}

    def env(self, address: str, *, native: bool) -> dict[str, str]:
        """What a worker that listens on ``address`` gets in its environment."""
        if not self.on:
            return {}
        path = report_path(address)
        return ({REPORT: path} if path else {}) | ({BACKEND_PATH: self.library} if native else {})


def out(why: str, fix: str = "") -> Kernels:
    """No kernels, and why."""
    return Kernels(report=Report(why=why), fix=fix)


def report_path(address: str) -> str:
    """Where the worker on a socket writes its report; "" for one that listens on a port."""
    return address.removesuffix(_SOCKET) + ENDING if address.endswith(_SOCKET) else ""


def library() -> Path | None:
    """The library, if the package that brings it is installed. Nothing of it is loaded."""
    try:
        found = importlib.import_module(PACKAGE).library()
    except (ImportError, AttributeError):
        return None
    return found if isinstance(found, Path) else None


def missing() -> Kernels:
    """Why there is no library here."""
    if sys.platform != "linux" or platform.machine().lower() not in _MACHINES:
        return out("there are none for this platform yet")
    fix = "In a clone, with a C++ compiler: pip install ./native. Else: pip install 'inhouse[kernels]'"
    return out("the package inhouse-kernels is not installed", fix)


__all__ = ["BACKEND_PATH", "PACKAGE", "REPORT", "SWITCH", "Kernels", "library", "missing", "out"]
