"""What a model source is: something that turns a wanted model into one verified file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ...core.errors import Cancelled
from ...core.models import ModelName


@dataclass(frozen=True, slots=True)
class PullEvent:
    """One step of a pull, with Ollama's statuses. Bytes; ``total`` 0 is unknown."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """A file inside a package; ``size`` are the bytes of the package's archive, 0 if unknown."""

    package: str
    version: str
    member: str
    size: int = 0

    def __str__(self) -> str:
        version = f"=={self.version}" if self.version else ""
        member = f"#{self.member}" if self.member else ""
        return self.package + version + member


@dataclass(frozen=True, slots=True)
class Origin:
    """One place to get a model from: the parts of its file in order, from one kind of source."""

    kind: str
    parts: tuple[Part, ...]

    def __str__(self) -> str:
        return f"{self.kind}:" + " + ".join(str(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model to pull. ``sha256`` (64 hex) and ``size`` of the file are "" and 0 when unknown."""

    name: ModelName
    origins: tuple[Origin, ...]
    file: str
    sha256: str = ""
    size: int = 0
    licence: str = ""
    system: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A complete, synced file; ``origin`` is its source with the versions that were found."""

    path: Path
    sha256: str
    size: int
    origin: str


class Watch:
    """The line between a pull's thread and those who wait: progress out, the wish to stop in."""

    def __init__(self, emit: Callable[[PullEvent], None]) -> None:
        self._emit = emit
        self.stopped = threading.Event()

    def say(self, event: PullEvent) -> None:
        self._emit(event)

    def check(self) -> None:
        """Raises Cancelled once nobody wants the pull any more."""
        if self.stopped.is_set():
            raise Cancelled("The pull was cancelled.")


class Source(Protocol):
    """Fetches one origin into ``folder``, which lives until the model is complete.

    Blocking; runs in a thread. Asks ``watch.check()`` at least five times a second. Verifies
    ``wanted.sha256`` where given. Raises SourceFailed, DigestMismatch, NoSpace, Cancelled.
    """

    def fetch(self, wanted: Wanted, origin: Origin, folder: Path, watch: Watch) -> Fetched: ...

    def missing(self, origin: Origin, folder: Path) -> int:
        """Bytes still to download into ``folder``, as far as known."""
        ...
