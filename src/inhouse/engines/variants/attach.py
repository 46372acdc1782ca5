"""Which builds run with our kernels: each is asked once, in a child, with the library attached.

What it answered is kept in the home until the build, the library or the machine is another: the library's
test of itself takes a moment, which nobody should wait for twice.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...core.kernels import Report, parse, read
from .. import kernels
from ..child import scrubbed
from ..kernels import Kernels, out
from ..llamacpp import WHEEL
from . import probe
from .symptoms import broken

if TYPE_CHECKING:
    from .choice import Candidate

FILE: Final = "kernels.json"
LARGEST: Final = 2**20
MOST: Final = 32
"""Answers that are kept."""

BUILD: Final = "Make one that lets them in: inhouse engine build"
_OFF: Final = "off"

State = tuple[int, int]
"""Time (ns) and size of a file: a file with another state is another file."""


class Attach:
    """``wanted`` is the setting; ``machine`` names this machine. Not thread-safe. Blocking."""

    def __init__(self, wanted: str, home: Path, machine: str, environ: Mapping[str, str]) -> None:
        self._wanted = wanted
        self._file = home / FILE
        self._machine = machine
        self._environ = dict(environ)
        self._kept: dict[str, Report] | None = None
        self._distrusted: dict[str, str] = {}

    def of(self, one: Candidate) -> Kernels:
        """Whether this build runs with our kernels; starts it once to see."""
        if self._wanted == _OFF:
            return out("the setting INHOUSE_KERNELS is off")
        library = kernels.library()
        if library is None:
            return kernels.missing()
        if one.gpu:
            return out(f"it computes on {one.backend}")
        if one.key in self._distrusted:
            return out(self._distrusted[one.key], "Restart the server to try them again.")
        own = self._environ.get(kernels.BACKEND_PATH, "")
        if one.runs != "wheel" and own and Path(own) != library:
            return out("GGML_BACKEND_PATH names another library", "Unset it to use Inhouse's kernels.")
        report = self._report(one, library)
        fix = BUILD if one.runs != "wheel" and not report.on and not report.types else ""
        return Kernels(str(library), report, fix)

    def distrust(self, key: str, why: str) -> None:
        """A worker of this build failed with them: it runs without for as long as we do."""
        self._distrusted[key] = why

    def trust(self, key: str) -> bool:
        """It failed without them, too: they were not to blame. Whether they were blamed."""
        return self._distrusted.pop(key, None) is not None

    def _report(self, one: Candidate, library: Path) -> Report:
        program = Path(one.path) if one.runs != "wheel" else _extension(one.path)
        if program is None:
            return Report(why="the package xllamacpp has no such file as expected")
        asked = (one.runs, str(program), one.path, str(library))
        states = (_state(program), _state(library))
        key = hashlib.sha256(json.dumps([asked, states, self._machine]).encode()).hexdigest()[:32]
        if self._kept is None:
            self._kept = _read(self._file)
        if key not in self._kept:
            try:
                report, lasting = _asked(asked, states, tuple(sorted(scrubbed(self._environ).items())))
            except OSError as error:
                return Report(why=f"the machine could not test them just now ({error.strerror})")
            if not lasting:
                return report
            self._kept[key] = report
            _write(self._file, self._kept)
        return self._kept[key]


def _extension(folder: str) -> Path | None:
    """The shared object of the xllamacpp in a folder, or of the one that is installed; not imported."""
    if folder:
        places = [Path(folder) / WHEEL]
    else:
        spec = importlib.util.find_spec(WHEEL)
        places = [Path(place) for place in (spec.submodule_search_locations or () if spec else ())]
    return next((path for place in places for path in sorted(place.glob("xllamacpp*.so"))), None)


def _state(path: Path) -> State:
    try:
        state = path.stat()
    except OSError:
        return 0, 0
    return state.st_mtime_ns, state.st_size


@functools.lru_cache(maxsize=64)
def _asked(
    asked: tuple[str, str, str, str], states: tuple[State, State], env: tuple[tuple[str, str], ...]
) -> tuple[Report, bool]:
    """What a build reports, and whether it would again: a child that did not end in time may do so in
    better times. Raises OSError for what will pass. ``states`` are part of the key only."""
    runs, program, folder, library = asked
    with tempfile.TemporaryDirectory(prefix="inhouse-") as aside:
        told = Path(aside, "report.json")
        more = {kernels.REPORT: str(told)}
        if runs == "wheel":
            worker = f"{__package__.rpartition('.')[0]}.workers.kernels"
            around = probe.importing(folder, dict(env)) if folder else scrubbed(dict(env))
            code, said = probe.run([sys.executable, "-P", "-m", worker, library], around | more)
        else:
            more |= {kernels.BACKEND_PATH: library}
            code, said = probe.run([program, "--list-devices"], scrubbed(dict(env)) | more)
        found, written = read(told), told.exists()
    if code == 0 and found is not None:
        return found, True
    return Report(why=_failure(code, said, written)), code is not None


def _failure(code: int | None, said: str, written: bool) -> str:
    if code is None:
        return f"their test did not end within {probe.TIMEOUT:g} s"
    if code == 0:
        return "their report cannot be read" if written else "this build does not load them"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"their test crashed ({signal.Signals(-code).name})"
    return broken(said, code) or f"their test failed with code {code}"


def _read(path: Path) -> dict[str, Report]:
    """What was kept; a broken file is as none."""
    with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):
        with path.open("rb") as file:
            told: dict[str, Any] = json.loads(file.read(LARGEST))
        found = {key: parse(json.dumps(value).encode()) for key, value in told.items()}
        return {key: report for key, report in found.items() if report is not None}
    return {}


def _write(path: Path, kept: Mapping[str, Report]) -> None:
    """Replace the file at once or not at all; a home that cannot be written keeps nothing."""
    newest = dict(list(kept.items())[-MOST:])
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=FILE)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps({key: report.facts() for key, report in newest.items()}, indent=1))
        Path(aside).replace(path)


__all__ = ["Attach"]
