"""The tools that change weights, for the store: quantising and converting live with the engines."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from .engines import convert
from .engines import quantize as quantizing
from .engines.quantize import Job
from .engines.recipe import Availability, Settings
from .engines.tool import Step
from .engines.variants.shelf import Shelf
from .store.reworking import Change
from .store.sources import Watch

RATES = (("IQ", 8e6), ("K", 100e6), ("", 200e6))
"""Bytes of F16 that a core quantises in a second, measured with 135M on two cores: searching the grids of
the I-quants takes ten times as long."""

Say = Callable[[int, int, str], None]


class Workshop:
    """See ``store.reworking.Workshop``."""

    def __init__(self, settings: Settings, home: Path, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._home = home
        self._environ = environ

    def _places(self) -> Mapping[str, str]:
        """The environment, with the folders of installed builds at the end of PATH: they bring tools, too."""
        shelved = [one.program.parent for one in Shelf(self._home).all() if one.record.runs == "server"]
        path = os.pathsep.join([self._environ.get("PATH", ""), *map(str, shelved)])
        return {**self._environ, "PATH": path} if shelved else self._environ

    def tools(self) -> list[Availability]:
        """What there is to change weights with. Runs a binary once; blocking."""
        return [quantizing.able(self._settings, self._places()), convert.able(self._home, self._environ)]

    def check(self, change: Change) -> str:
        name, _ = quantizing.type_of(change.kind)
        quantizing.check(self._job(change, Path(), Path()))
        return name

    def estimate(self, kind: str, parameters: int, size: int) -> int:
        return quantizing.estimate(parameters, size, kind)

    def seconds(self, kind: str, size: int) -> float:
        cores = os.cpu_count() or 1
        return size / cores / next(rate for mark, rate in RATES if mark in kind)

    def quantize(self, source: Path, target: Path, change: Change, watch: Watch, say: Say) -> None:
        job = self._job(change, source, target)
        quantizing.quantize(job, _heard(say), watch.stopped.is_set, self._settings, self._places())

    @staticmethod
    def _job(change: Change, source: Path, target: Path) -> Job:
        return Job(
            source=source,
            target=target,
            kind=change.kind,
            imatrix=change.imatrix,
            quantization=change.quantization,
            allow_requantize=change.allow_requantize,
        )

    def convert(self, folder: Path, target: Path, outtype: str, watch: Watch, say: Say) -> None:
        job = convert.Conversion(folder, target, outtype)
        convert.convert(job, _heard(say), watch.stopped.is_set, self._home, self._environ)

    def install(self, watch: Watch, say: Say) -> None:
        convert.install(self._home, lambda line: say(0, 0, line), watch.stopped.is_set, self._environ)


def _heard(say: Say) -> Callable[[Step], None]:
    def heard(step: Step) -> None:
        say(step.done, step.total, "" if step.left is None else f"about {step.left:.0f} s left")

    return heard
