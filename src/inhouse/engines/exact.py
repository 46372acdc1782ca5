"""What the engine itself says a load takes: a child lays it out without allocating, and is heard out.

The figures are whole MiB for each kind of memory: ``Host``, the rearranged copies (``CPU_REPACK``), GPUs.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..core.errors import LoadFailed, Unsupported
from .child import scrubbed
from .llamacpp import wheel

TIMEOUT: Final = 120.0
TAIL: Final = 30
_MIB: Final = 2**20
_ROW: Final = re.compile(r"memory_breakdown_print:\s*\|\s+- (?P<name>.+?)\s*\|(?P<figures>[^|]*)\|")
_SUM: Final = re.compile(r"(\d+)\s*=\s*(\d+)\s*\+\s*(\d+)\s*\+\s*(\d+)")
_HEAD: Final = "memory breakdown [MiB]"
_DONE: Final = re.compile(
    r"common_fit_params: (successfully fit|failed to fit|fitting params to free memory took)"
)


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes in one kind of memory, by llama.cpp's names: ``Host``, ``CPU_REPACK``, ``CUDA0 (...)``."""

    name: str
    model: int
    context: int
    compute: int

    @property
    def total(self) -> int:
        return self.model + self.context + self.compute


def parts_of(lines: Iterable[str]) -> tuple[Part, ...]:
    """The last whole table in the engine's log: fitting to GPUs may take several tries."""
    found: list[Part] = []
    for line in lines:
        if _HEAD in line:
            found = []
        row = _ROW.search(line)
        figures = _SUM.search(row["figures"]) if row else None
        if row and figures:
            model, context, compute = (int(n) * _MIB for n in figures.groups()[1:])
            found.append(Part(row["name"], model, context, compute))
    return tuple(found)


def reckon(order: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[Part, ...]:
    """Let the wheel lay out a load. ``order`` as for ``workers.llamacpp``. Blocking, about a second.

    Raises Unsupported without the wheel, LoadFailed where it does not tell.
    """
    if not wheel().ok:
        raise Unsupported("The exact reckoning needs the engine's wheel.", hint=wheel().fix)
    with subprocess.Popen(
        (sys.executable, "-P", "-m", f"{__package__}.workers.fit"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=scrubbed(environ),
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as child:
        watch = threading.Timer(TIMEOUT, child.kill)
        watch.start()
        try:
            lines = _heard(child, json.dumps(order))
        finally:
            watch.cancel()
            child.kill()
            if child.stdin is not None:
                with contextlib.suppress(OSError):  # what a dead child did not read
                    child.stdin.close()
    parts = parts_of(lines)
    if not parts:
        raise LoadFailed(
            "The engine did not tell what the model takes.",
            hint="Plan without --exact: the formulas do not need the engine.",
            detail="\n".join(lines[-TAIL:]),
        )
    return parts


def _heard(child: subprocess.Popen[str], order: str) -> list[str]:
    """What it says until the figures are complete, or its end."""
    if child.stdin is None or child.stderr is None:  # not with the pipes that we ask for
        return []
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(order + "\n")
        child.stdin.flush()
    lines: list[str] = []
    for line in child.stderr:
        lines.append(line.rstrip()[:2000])
        if _DONE.search(line):
            break
    return lines


__all__ = ["Part", "parts_of", "reckon"]
