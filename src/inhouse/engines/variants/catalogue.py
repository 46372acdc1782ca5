"""The shipped list of builds that can be had. Data in ``builds.toml``."""

from __future__ import annotations

import difflib
import functools
import re
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, Literal

from ...core.errors import NotFound, Unsupported
from ...machine import Gpu, Machine

Kind = Literal["wheel", "build", "index", "release"]
Runs = Literal["wheel", "server"]

_ARCHES: Final = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}
_NAMES: Final = {
    "cpu": "a CPU",
    "cuda": "an NVIDIA GPU with its driver",
    "rocm": "an AMD GPU with ROCm",
    "sycl": "an Intel GPU with oneAPI",
    "vulkan": "a GPU with a Vulkan driver",
    "metal": "a Mac with Apple silicon",
}


@dataclass(frozen=True, slots=True)
class File:
    """One downloadable of a build. ``os`` and ``arch`` "" fit any; ``beside``: a second file whose contents
    belong next to the first one's; ``within``: the only folder of it that is used. ``sha256`` and ``size``
    are "" and 0 where this project has not seen the bytes. ``cuda``: overrides the build's."""

    asset: str = ""
    os: str = ""
    arch: str = ""
    beside: str = ""
    within: str = ""
    sha256: str = ""
    size: int = 0
    cuda: str = ""


@dataclass(frozen=True, slots=True)
class Build:
    """A build that can be had; the fields are explained in ``builds.toml``."""

    name: str
    source: Kind
    runs: Runs
    backend: str
    version: str
    licence: str
    inside: str
    package: str = ""
    repository: str = ""
    index: str = ""
    files: tuple[File, ...] = ()
    platforms: tuple[str, ...] = ()
    cuda: str = ""
    capability: str = ""
    targets: tuple[str, ...] = ()
    loses: tuple[str, ...] = ()
    minutes: int = 0
    unpacked: int = 0

    @property
    def grammars(self) -> frozenset[str]:
        """As in ``Launch.grammars``."""
        return frozenset({"gbnf", "lark"}) - frozenset(self.loses)

    def file(self, machine: Machine) -> File | None:
        """The file for a machine; None where there is none for its system."""
        here = platform_of(machine)
        for one in self.files:
            if (one.os or here[0], one.arch or here[1]) == here:
                return one
        if not self.files and (not self.platforms or "-".join(here) in self.platforms):
            return File()
        return None

    def misfit(self, machine: Machine) -> str:
        """Why the build is of no use on a machine, in one sentence; "" if it fits."""
        file = self.file(machine)
        if file is None:
            return f"there is none for {'/'.join(platform_of(machine))}"
        if self.backend == "cpu":
            return ""
        gpus = [gpu for gpu in machine.gpus if self.backend in gpu.backends]
        if not gpus:
            return f"it needs {_NAMES.get(self.backend, self.backend)}, and none was found"
        reasons = [self._misfit(gpu, file.cuda or self.cuda) for gpu in gpus]
        return "" if "" in reasons else reasons[0]

    def _misfit(self, gpu: Gpu, cuda: str) -> str:
        if cuda and gpu.cuda and _version(gpu.cuda) < _version(cuda):
            return f"the driver of {gpu.name} runs CUDA up to {gpu.cuda}, it needs {cuda}"
        if self.capability and gpu.capability and _version(gpu.capability) < _version(self.capability):
            return f"{gpu.name} has the compute capability {gpu.capability}, it needs {self.capability}"
        if self.targets and gpu.capability and gpu.capability not in self.targets:
            return f"it was not made for {gpu.name} ({gpu.capability})"
        return ""


def platform_of(machine: Machine) -> tuple[str, str]:
    """Operating system and machine as ``builds.toml`` names them: ``("linux", "x64")``."""
    return machine.os.lower(), _ARCHES.get(machine.arch.lower(), machine.arch.lower())


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


@functools.cache
def builds() -> tuple[Build, ...]:
    """All builds, best first among those that fit a machine equally."""
    text = resources.files(__package__).joinpath("builds.toml").read_text("utf-8")
    return parse(text)


def parse(text: str) -> tuple[Build, ...]:
    """Builds from TOML. Raises ValueError, TypeError, KeyError for what is none."""
    return tuple(_build(entry) for entry in tomllib.loads(text)["build"])


def _build(entry: dict[str, Any]) -> Build:
    files = tuple(File(**one) for one in entry.pop("file", ()))
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    return Build(**{**entry, **lists}, files=files)


def named(name: str, among: tuple[Build, ...] | None = None) -> Build:
    """The build of a name. Raises NotFound with near names."""
    known = builds() if among is None else among
    for one in known:
        if one.name == name:
            return one
    near = difflib.get_close_matches(name, [one.name for one in known], n=3) or [one.name for one in known]
    raise NotFound(
        f"There is no build called {name[:40]!r}.",
        hint=f"Perhaps: {', '.join(near)}. See: inhouse engine list",
    )


def installable(name: str, machine: Machine, *, anyway: bool = False) -> tuple[Build, File]:
    """A build and its file for this machine. ``anyway``: although it does not fit what was found here.

    Raises NotFound, Unsupported with the reason.
    """
    build = named(name)
    if build.source == "wheel":
        raise Unsupported(
            f"The build {name!r} comes with Inhouse itself.", hint="Use it: inhouse engine use wheel"
        )
    file = build.file(machine)
    reason = build.misfit(machine)
    if file is None or (reason and not anyway):
        hint = "See what fits: inhouse engine list"
        raise Unsupported(
            f"The build {name!r} does not fit this machine: {reason}.",
            hint=hint if file is None else f"{hint}. Or install it all the same, with --anyway.",
        )
    return build, file


__all__ = ["Build", "File", "builds", "installable", "named", "parse", "platform_of"]
