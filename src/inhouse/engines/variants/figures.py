"""What was measured of builds against the wheel, and what the user chose: one small file of the home."""

from __future__ import annotations

import contextlib
import json
import math
import threading
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import msgspec

from ...core.disk import guarded

FILE = "chosen.json"
DECODE, PREFILL = 0.6, 0.4
"""How the two count: people wait longer for answers than for prompts to be read."""


@dataclass(frozen=True, slots=True)
class Figure:
    """How a build did against the wheel: ratios of medians, taken in turns on one machine. ``build`` and
    ``wheel`` are the versions that were compared; ``at`` is Unix time."""

    build: str
    wheel: str
    prefill: float
    decode: float
    model: str
    machine: str = ""
    at: float = 0.0

    @property
    def speed(self) -> float:
        """Both ratios in one: their weighted geometric mean."""
        if self.prefill <= 0 or self.decode <= 0:
            return 0.0
        return math.exp(PREFILL * math.log(self.prefill) + DECODE * math.log(self.decode))

    @property
    def told(self) -> str:
        """For people."""
        return f"prefill {self.prefill:.2f}, decode {self.decode:.2f}, with {self.model}"


@dataclass(frozen=True, slots=True)
class _Book:
    use: str = ""
    figures: dict[str, Figure] = field(default_factory=dict)


class Kept:
    """``machine`` is the fingerprint of this one: what another measured does not count. Thread-safe."""

    def __init__(self, folder: Path, machine: str = "") -> None:
        self._path = folder / FILE
        self._machine = machine
        self._lock = threading.Lock()
        self._book = _read(self._path)

    @property
    def use(self) -> str:
        """The build that the user chose, "" for the best."""
        return self._book.use

    def choose(self, key: str) -> None:
        """Keep the user's choice; "" for the best. Raises StoreError."""
        with self._lock:
            self._write(replace(self._book, use=key))

    def note(self, key: str, figure: Figure) -> None:
        """Keep what was measured of a build. Raises StoreError."""
        with self._lock:
            own = replace(figure, machine=self._machine)
            self._write(replace(self._book, figures=self._book.figures | {key: own}))

    def of(self, key: str, build: str, wheel: str) -> Figure | None:
        """What was measured of these very builds on this machine."""
        found = self._book.figures.get(key)
        same = found and (found.build, found.wheel, found.machine) == (build, wheel, self._machine)
        return found if same else None

    def forget(self, key: str) -> None:
        """A build is gone, and with it its figures and a choice of it. Raises StoreError."""
        with self._lock:
            figures = {name: one for name, one in self._book.figures.items() if name != key}
            use = "" if self._book.use == key else self._book.use
            if (use, figures) != (self._book.use, self._book.figures):
                self._write(_Book(use, figures))

    def _write(self, book: _Book) -> None:
        with guarded("keeping which build is used"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            aside = self._path.with_suffix(".tmp")
            aside.write_text(json.dumps(asdict(book), indent=1), "utf-8")
            aside.replace(self._path)
        self._book = book


def _read(path: Path) -> _Book:
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(path.read_bytes(), type=_Book)
    return _Book()


__all__ = ["Figure", "Kept"]
