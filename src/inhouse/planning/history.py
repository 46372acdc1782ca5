"""What was predicted and what then came of it: kept on disk, within bounds, written by one thread.

A row is a prediction; once something is measured that it spoke of, it is held against that. From what was
measured rates are learnt for a model, a quantisation and a machine, each with one build of an engine.
"""

from __future__ import annotations

import contextlib
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from .speed import Basis, Rate, fold

What = Literal["memory", "decode", "prefill", "exact"]

FILE: Final = "predictions.sqlite"
MOST: Final = 5000
"""Rows that are kept; the oldest go."""
OPEN: Final = 500
"""Of them those that nothing was held against yet: asking for plans must not push out what was learnt."""
SHOWN: Final = 12
"""Rows that an error is told over."""

_CREATE: Final = """
CREATE TABLE IF NOT EXISTS scores (
    id INTEGER PRIMARY KEY, at REAL, machine TEXT, build TEXT, digest TEXT, quantization TEXT,
    what TEXT, size INTEGER, predicted REAL, low REAL, high REAL, measured REAL, coefficient REAL
)"""
_INDEX: Final = "CREATE INDEX IF NOT EXISTS scores_of ON scores (machine, what, id)"
_INSERT: Final = """
INSERT INTO scores (at, machine, build, digest, quantization, what, size, predicted, low, high, measured,
coefficient) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_DROP: Final = "DELETE FROM scores WHERE id <= (SELECT id FROM scores ORDER BY id DESC LIMIT 1 OFFSET ?)"
_DROP_OPEN: Final = """
DELETE FROM scores WHERE measured = 0 AND id <=
(SELECT id FROM scores WHERE measured = 0 ORDER BY id DESC LIMIT 1 OFFSET ?)"""
_OPEN: Final = """
SELECT id FROM scores WHERE measured = 0 AND machine = ? AND build = ? AND digest = ? AND what = ?
AND size BETWEEN ? AND ? ORDER BY id DESC LIMIT 1"""
_CLOSE: Final = "UPDATE scores SET measured = ?, coefficient = ? WHERE id = ?"
_SELECT: Final = """
SELECT at, machine, build, digest, quantization, what, size, predicted, low, high, measured, coefficient
FROM scores WHERE measured > 0 AND what = :what AND machine = :machine
AND (:build = '' OR build = :build) AND (:digest = '' OR digest = :digest)
AND (:quantization = '' OR quantization = :quantization) ORDER BY id DESC LIMIT 24"""


@dataclass(frozen=True, slots=True)
class Where:
    """What a measurement holds for: a machine's fingerprint, an engine's build, a model's digest and its
    quantisation. "" stands for any."""

    machine: str
    build: str = ""
    digest: str = ""
    quantization: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """One prediction beside what was measured (0: not yet): bytes for memory (``exact``: as the engine
    reckons weights and cache itself), tokens a second else.

    ``size`` tells predictions apart: tokens of all contexts for memory, of the prompt else. ``low`` and
    ``high`` bound what was predicted; ``coefficient`` is what the measurement says of the machine: bytes or
    operations a second, for memory the bytes that the formula did not have.
    """

    at: float
    machine: str
    build: str
    digest: str
    quantization: str
    what: What
    size: int
    predicted: float
    low: float
    high: float
    measured: float = 0.0
    coefficient: float = 0.0

    @property
    def error(self) -> float:
        """By how much the prediction was off, as a share of what was measured; below zero: too low."""
        return (self.predicted - self.measured) / self.measured if self.measured else 0.0


@dataclass(frozen=True, slots=True)
class Record:
    """How good predictions were: of the last ``count`` the median error (a share, without its sign), the
    worst, and how many lay within the range that was told."""

    what: What
    count: int
    median: float
    worst: float
    within: int


class History:
    """Reading is for threads; what adds returns at once. A file that cannot be used keeps nothing, and
    everything works as on the first day."""

    def __init__(self, home: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = home / FILE
        self._clock = clock
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="predictions")

    def expect(self, where: Where, what: What, size: int, told: tuple[float, float, float]) -> None:
        """Keep a prediction: ``told`` is (predicted, low, high)."""
        self._soon(self._insert, self._score(where, what, size, told))

    def came(
        self,
        where: Where,
        what: What,
        size: int,
        told: tuple[float, float, float],
        measured: tuple[float, float],
    ) -> None:
        """Hold (measured, coefficient) against the last open prediction of its kind, or else against
        ``told``, which was made for it before it was known."""
        score = self._score(where, what, size, told)
        self._soon(self._hold, replace(score, measured=measured[0], coefficient=measured[1]))

    def _score(self, where: Where, what: What, size: int, told: tuple[float, float, float]) -> Score:
        place = (where.machine, where.build, where.digest, where.quantization)
        return Score(self._clock(), *place, what, size, *told)

    def _soon(self, work: Callable[[Score], None], score: Score) -> None:
        with contextlib.suppress(RuntimeError):  # closed meanwhile
            self._writer.submit(work, score)

    def close(self) -> None:
        """Write what waits, then end. Idempotent."""
        self._writer.shutdown(wait=True)

    def flush(self) -> None:
        """Wait until all that was added before is written."""
        with contextlib.suppress(RuntimeError):
            self._writer.submit(lambda: None).result()

    def _insert(self, score: Score) -> None:
        with self._open() as database:
            database.execute(_INSERT, astuple(score))
            database.execute(_DROP_OPEN, (OPEN,))
            database.execute(_DROP, (MOST,))

    def _hold(self, score: Score) -> None:
        # A prompt of about the length that was spoken of; a load of exactly that size.
        near = (
            (score.size, score.size)
            if score.what in ("memory", "exact")
            else (score.size // 2, score.size * 2)
        )
        with self._open() as database:
            place = (score.machine, score.build, score.digest, score.what, *near)
            found = database.execute(_OPEN, place).fetchone()
            if found:
                database.execute(_CLOSE, (score.measured, score.coefficient, found[0]))
                return
            database.execute(_INSERT, astuple(score))
            database.execute(_DROP, (MOST,))

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection with its table; a file that is broken is put aside and begun anew."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            database = self._connected()
        except sqlite3.DatabaseError as error:
            if not _is_broken(error):
                raise
            self._put_aside()
            database = self._connected()
        try:
            with contextlib.closing(database), database:
                yield database
        except sqlite3.DatabaseError as error:
            if _is_broken(error):
                self._put_aside()
            raise

    def _put_aside(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # another thread was quicker
            self._path.replace(self._path.with_suffix(".broken"))

    def _connected(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=5.0)
        try:
            database.execute(_CREATE)
            database.execute(_INDEX)
        except sqlite3.DatabaseError:
            database.close()
            raise
        return database

    def scores(self, what: What, where: Where) -> list[Score]:
        """The latest rows that were held against a measurement, newest first."""
        wanted: dict[str, Any] = {
            "what": what,
            "machine": where.machine,
            "build": where.build,
            "digest": where.digest,
            "quantization": where.quantization,
        }
        if not self._path.exists():
            return []
        try:
            with self._open() as database:
                return [Score(*row) for row in database.execute(_SELECT, wanted)]
        except (OSError, sqlite3.Error):
            return []

    def rate(self, what: Literal["decode", "prefill"], where: Where) -> Rate | None:
        """What was learnt: of this model, else of its quantisation, else of anything on this machine."""
        here = Where(where.machine, where.build)
        steps: tuple[tuple[Basis, Where], ...] = (
            ("this model", replace(here, digest=where.digest)),
            ("this quantisation", replace(here, quantization=where.quantization)),
            ("this machine", here),
        )
        for basis, place in steps:
            known = basis == "this machine" or place != here
            if known and (found := fold((one.coefficient for one in self.scores(what, place)), basis)):
                return found
        return None

    def surplus(self, where: Where) -> tuple[float, int]:
        """(bytes that the formula for the memory lacks, measurements): the median of the loads of this
        model, else what its engine reckoned, else the median for this build on this machine."""
        here = Where(where.machine, where.build)
        model = replace(here, digest=where.digest)
        steps: tuple[tuple[What, Where], ...] = (("memory", model), ("exact", model), ("memory", here))
        for what, place in steps:
            if found := [score.coefficient for score in self.scores(what, place)]:
                return statistics.median(found), len(found)
        return 0.0, 0

    def record(self, what: What, machine: str) -> Record:
        """How good the last predictions on a machine were."""
        scores = self.scores(what, Where(machine))[:SHOWN]
        errors = [abs(score.error) for score in scores]
        within = sum(1 for score in scores if score.low <= score.measured <= score.high)
        if not errors:
            return Record(what, 0, 0.0, 0.0, 0)
        return Record(what, len(errors), statistics.median(errors), max(errors), within)


def _is_broken(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is no good. One that is locked, cannot be written or has no room is."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


__all__ = ["History", "Record", "Score", "What", "Where"]
