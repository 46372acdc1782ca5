"""Programs that need libraries we would not carry: each gets a Python environment of its own.

Under the home, made aside and put into place in one step, so that it is there whole or not at all. One whose
programs are scripts that name its interpreter is made where it stays, and marked once it is whole.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..core.disk import guarded
from ..core.errors import LoadFailed
from .child import scrubbed
from .tool import Command, full, need_room, run

WHOLE: Final = "complete"
"""The file that marks an environment that was made where it stays."""

TORCH: Final = "2.13.0"
CPU_INDEX: Final = "https://download.pytorch.org/whl/cpu"
"""Where PyTorch publishes builds for CPUs alone; on the usual index, Linux gets gigabytes for GPUs."""

_KEPT: Final = re.compile(
    r"PIP_\w+|(https?|no|all)_proxy|SSL_CERT_(FILE|DIR)|\w+_CA_BUNDLE|HOME", re.IGNORECASE
)

Say = Callable[[str], None]
Stopped = Callable[[], bool]
Way = Sequence[str]


@dataclass(frozen=True, slots=True)
class Environment:
    """What to install where. ``steps`` run in order, each of them a few ways of arguments for pip, of which
    the first that works counts. ``modules`` must be importable in the end. ``download`` and ``unpacked`` are
    bytes; ``name`` and ``fix`` are for errors. ``stays``: made in its place, see ``whole``."""

    folder: Path
    name: str
    steps: Sequence[Sequence[Way]]
    modules: Sequence[str] = ()
    download: int = 0
    unpacked: int = 0
    fix: str = "Check the network and the index that pip is set to."
    stays: bool = False


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def programs_of(folder: Path) -> Path:
    """Where the programs of an environment lie."""
    return python_of(folder).parent


def whole(folder: Path) -> bool:
    """Whether an environment that ``stays`` where it is made was made to the end."""
    return (folder / WHOLE).is_file()


def torch_for_cpu() -> Sequence[Way]:
    """Ways to a PyTorch that computes on the CPU alone. What pip knows already is tried first."""
    if sys.platform != "linux":
        return [[f"torch=={TORCH}"]]
    cpu = f"torch=={TORCH}+cpu"
    return [[cpu], [cpu, "--extra-index-url", CPU_INDEX]]


def for_pip(environ: Mapping[str, str]) -> dict[str, str]:
    """What pip inherits: the scrubbed environment, with the user's own settings of pip and the network."""
    env = scrubbed(environ) | {k: v for k, v in environ.items() if _KEPT.fullmatch(k)}
    env.pop("PYTHONPATH", None)
    return env


def install(wanted: Environment, say: Say, stopped: Stopped, environ: Mapping[str, str]) -> None:
    """Make an environment. Blocking, for minutes.

    Says the size of the download first, then pip's lines. The user's pip settings hold; only wheels are
    taken, so nothing is built. Raises NoSpace, StoreError, Cancelled, LoadFailed.
    """
    folder = wanted.folder
    with guarded(f"installing {wanted.name}"):
        folder.parent.mkdir(parents=True, exist_ok=True)
    need_room(folder, wanted.download + wanted.unpacked)
    say(f"About {wanted.download // 2**20} MiB to download, {wanted.unpacked // 2**20} MiB once unpacked.")
    made = _begun(wanted)
    try:
        work = _Work(wanted, for_pip(environ), say, stopped)
        work.do([sys.executable, "-I", "-m", "venv", str(made)], "Python's venv module failed")
        for ways in wanted.steps:
            work.first(ways, made)
        if wanted.modules:
            check = [str(python_of(made)), "-I", "-c", f"import {', '.join(wanted.modules)}"]
            work.do(check, f"{wanted.name} was installed but does not start")
        with guarded(f"installing {wanted.name}"):
            _finish(made, folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _begun(wanted: Environment) -> Path:
    """The empty folder to make it in."""
    folder = wanted.folder
    with guarded(f"installing {wanted.name}"):
        if wanted.stays:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(exist_ok=True)
            return folder
        return Path(tempfile.mkdtemp(prefix=f".new-{folder.name}-", dir=folder.parent))


def _finish(made: Path, folder: Path) -> None:
    if made == folder:
        (folder / WHOLE).touch()
        return
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)


@dataclass(frozen=True, slots=True)
class _Work:
    wanted: Environment
    env: Mapping[str, str]
    say: Say
    stopped: Stopped

    def first(self, ways: Sequence[Way], aside: Path) -> None:
        pip = [str(python_of(aside)), "-I", "-m", "pip", "install", "--no-input"]
        pip += ["--disable-pip-version-check", "--only-binary", ":all:", "--progress-bar", "off"]
        for i, way in enumerate(ways):
            try:
                return self.do([*pip, "--no-cache-dir", *way], f"pip could not install {self.wanted.name}")
            except LoadFailed:
                if i == len(ways) - 1:
                    raise

    def do(self, argv: list[str], failure: str) -> None:
        ended = run(Command(argv, self.env, Path(tempfile.gettempdir())), self.say, self.stopped)
        if ended.code:
            raise full(Path(argv[0]), f"installing {self.wanted.name}", ended) or LoadFailed(
                f"{failure}.", hint=self.wanted.fix, detail=ended.log()
            )


__all__ = [
    "CPU_INDEX",
    "TORCH",
    "Environment",
    "install",
    "programs_of",
    "python_of",
    "torch_for_cpu",
    "whole",
]
