"""What a model source is: it says which files a model has, and brings them one by one.

A source text is parsed once into a ``Ref``. ``Source.find`` asks the far side what the model is made
of and answers with a ``Listing``; nothing large is fetched. ``Source.fetch`` brings one ``Asset`` into
a folder of its own, or says where it already lies. Everything here is blocking and runs in threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from ...core.errors import Cancelled
from ...core.models import ModelName
from ...net.watch import Got, PullEvent, Throttle

Role = Literal["model", "projector", "adapter", "draft", "weights", "config"]
"""``model``: a GGUF file (several: the parts of a split one, in order). ``projector``: mmproj GGUF.
``adapter``: LoRA GGUF. ``draft``: GGUF of a draft model. ``weights``: a safetensors file.
``config``: any small file that belongs to a safetensors model, by its relative path."""

ROLES: Final[tuple[Role, ...]] = ("model", "projector", "adapter", "draft", "weights", "config")


@dataclass(frozen=True, slots=True)
class Ref:
    """A parsed source text. ``name``: what the model is stored as, found from the text alone.

    ``kind`` names the source; ``text`` is canonical and parses to the same Ref. ``sha256`` (64 hex)
    and ``size`` of the (only) model file where the text or the catalogue pins them, else "" and 0.
    """

    name: ModelName
    kind: str
    text: str
    sha256: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of a model at its source.

    ``file`` is a safe relative path (``/`` between parts, no ``..``); ``size`` in bytes and ``sha256``
    (64 hex) are 0 and "" where the source does not say. ``locator`` is the source's own (a URL, a blob
    digest, members of packages). ``scale`` is that of a LoRA adapter.
    """

    role: Role
    file: str
    size: int = 0
    sha256: str = ""
    locator: Any = None
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Texts:
    """What a source says of a model beside its files. ``template`` is as the source has it: Go or
    Jinja. ``defaults`` are options named as Ollama names them; ``messages`` are (role, content)."""

    template: str = ""
    system: str = ""
    licence: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a model is made of. ``origin`` is a source text that brings exactly this again, versions
    filled in; ``revision`` the commit, manifest digest, ETag or version behind it ("" if none).
    ``said`` is a sentence for the user about a choice that was made for him ("" if none)."""

    assets: tuple[Asset, ...]
    origin: str
    revision: str = ""
    texts: Texts = field(default_factory=Texts)
    said: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be asked of the network.

    ``hosts``: ``host`` or ``host:port`` patterns (``*`` matches) that may lie on loopback or in private
    networks. ``rate``: the shared bandwidth limit. ``streams``: parallel ranges of one file.
    ``stall``: seconds without a byte after which a connection is given up. ``room``: bytes of memory
    that a model may take on this machine. ``folders``: where API clients may name files. ``environ``:
    the environment that sources read, None this process's.
    """

    hosts: tuple[str, ...] = ()
    rate: Throttle = field(default_factory=Throttle)
    streams: int = 4
    stall: float = 30.0
    room: Callable[[], int] = lambda: 0
    folders: tuple[Path, ...] = ()
    environ: Mapping[str, str] | None = None


class Watch:
    """The line between a pull's thread and those who wait: progress out, the wish to stop in.

    ``trusted``: asked for by the user of this machine himself (its command line), who may reach
    private addresses and name local files; ``insecure``: plain HTTP is accepted; ``fresh``: ask the
    far side even where another program's store on this machine has a copy.
    """

    def __init__(
        self,
        emit: Callable[[PullEvent], None],
        policy: Policy | None = None,
        *,
        trusted: bool = False,
        insecure: bool = False,
        fresh: bool = False,
    ) -> None:
        self._emit = emit
        self.policy = policy or Policy()
        self.trusted = trusted
        self.insecure = insecure
        self.fresh = fresh
        self.stopped = threading.Event()

    def say(self, event: PullEvent) -> None:
        self._emit(event)

    def check(self) -> None:
        """Raises Cancelled once nobody wants the pull any more."""
        if self.stopped.is_set():
            raise Cancelled("The pull was cancelled.")


class Source(Protocol):
    """One kind of source. Blocking. Asks ``watch.check()`` at least five times a second.

    Raises ModelNotFound, SourceFailed, DigestMismatch, NoSpace, Forbidden, Unsupported, Cancelled.
    """

    def parse(self, text: str) -> Ref:
        """A source text, which this source is known to own. Raises BadRequest, InvalidName. Pure."""
        ...

    def find(self, ref: Ref, watch: Watch) -> Listing:
        """Ask what the model is made of and, where there is a choice, choose."""
        ...

    def fetch(self, asset: Asset, folder: Path, watch: Watch) -> Got:
        """Bring one file. ``folder`` exists, belongs to this asset alone and lives until the model is
        complete: what a killed try left in it is resumed. Progress: ``pulling <12 hex or file>`` with
        digest, total and completed, then ``verifying sha256 digest``. ``asset.sha256`` is verified."""
        ...

    def missing(self, asset: Asset, folder: Path) -> int:
        """Peak of bytes still to be written below ``folder``, as far as known (0: nothing or unknown)."""
        ...


__all__ = [
    "ROLES",
    "Asset",
    "Got",
    "Listing",
    "Policy",
    "PullEvent",
    "Ref",
    "Role",
    "Source",
    "Texts",
    "Throttle",
    "Watch",
]
