"""Quantises a GGUF file with llama.cpp's own ``llama-quantize``, as a supervised child.

The xllamacpp wheel cannot: it exports no ``llama_model_quantize`` (seen with 2026.10.11549).
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..core.errors import BadRequest, LoadFailed, Unsupported
from .child import scrubbed
from .native import NATIVE
from .quant_types import ALIASES, TYPES, QuantType
from .recipe import Availability, Settings
from .tool import Command, Ended, Step, full, need_room, run, whole_or_gone

TOOL: Final = "llama-quantize"
FLOATS: Final = frozenset({"F32", "F16", "BF16"})
HEADER_SHARE: Final = 0.02
"""Of a result: the vocabulary and the alignment of tensors, seldom more."""

_STEP: Final = re.compile(r"\[ *(\d+)/ *(\d+)\]")
_SIZE: Final = re.compile(r"size = *([0-9.]+) MiB")
_TOTAL: Final = re.compile(r"(model|quant) size *= *([0-9.]+) MiB")
_FIX: Final = f"Install llama.cpp with its {TOOL}, or name its llama-server with INHOUSE_LLAMA_SERVER."


@dataclass(frozen=True, slots=True)
class Job:
    """One file to quantise. ``source`` must have passed our own reader of headers: it meets native code.

    ``quantization`` is what the source has ("" unknown); ``threads`` 0 is all cores.
    """

    source: Path
    target: Path
    kind: str
    imatrix: Path | None = None
    threads: int = 0
    quantization: str = ""
    allow_requantize: bool = False


def able(settings: Settings, environ: Mapping[str, str]) -> Availability:
    """The llama-quantize beside the llama-server in use, else the first one on PATH."""
    server = settings.llama_server or shutil.which(NATIVE, path=environ.get("PATH", "")) or ""
    name = f"{TOOL}.exe" if sys.platform == "win32" else TOOL
    beside = Path(server).expanduser().parent / name if server else None
    for path in (beside, shutil.which(TOOL, path=environ.get("PATH", ""))):
        if path is None or not Path(path).is_file():
            continue
        try:
            _known_types(Path(path))
        except (OSError, ValueError, subprocess.SubprocessError):
            return Availability(TOOL, False, path=str(path), why=f"{TOOL} does not run", fix=_FIX)
        return Availability(TOOL, True, path=str(Path(path).absolute()))
    why = f"no {TOOL} stands beside the llama-server or on PATH, and the xllamacpp wheel has none"
    return Availability(TOOL, False, why=why, fix=_FIX)


def _known_types(path: Path) -> frozenset[str]:
    state = path.stat()
    return _probe(str(path), state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=8)
def _probe(path: str, mtime_ns: int, size: int) -> frozenset[str]:
    """Types that this build knows, from its help; the file state is part of the key."""
    done = subprocess.run(
        [path, "--help"], capture_output=True, timeout=10, check=False, stdin=subprocess.DEVNULL
    )
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    found = frozenset(re.findall(r"^\s*\d+\s+or\s+(\w+)\s*:", text, re.MULTILINE))
    if not found:
        raise ValueError("no types")
    return found


def type_of(kind: str) -> tuple[str, QuantType]:
    """A type by its name, in any case, or by an alias such as ``Q4_K``. Raises BadRequest."""
    name = ALIASES.get(kind.upper(), kind.upper())
    if name not in TYPES:
        raise BadRequest(
            "There is no such quantisation type.",
            hint=f"Choose one of: {', '.join(TYPES)}",
            param="quantize",
        )
    return name, TYPES[name]


def check(job: Job) -> None:
    """Refuse before anything is started what llama.cpp would refuse. Pure but for the files' existence.

    Raises BadRequest.
    """
    name, kind = type_of(job.kind)
    if kind.needs_imatrix and job.imatrix is None:
        raise BadRequest(
            f"{name} needs an importance matrix: without one so few bits make nonsense.",
            hint="Name one with --imatrix (llama-imatrix makes it), or choose IQ4_XS, Q3_K_M or larger.",
            param="imatrix",
        )
    if job.quantization and job.quantization.upper() not in FLOATS and not job.allow_requantize:
        raise BadRequest(
            f"The model is {job.quantization} already; to quantise it again would lose much.",
            hint="Start from its F16, BF16 or F32 form, or allow it with --allow-requantize.",
            param="quantize",
        )
    if job.imatrix is not None and not job.imatrix.is_file():
        raise BadRequest("There is no such importance matrix.", hint="Check --imatrix.", param="imatrix")


def estimate(parameters: int, current: int, kind: str) -> int:
    """Bytes of the result, about: ``parameters`` at the type's bits, never more than F32 would take.

    ``current`` bytes are the source's. Rows that are no multiple of 256 get a larger type, so small
    models come out larger; ``measure`` knows exactly. Raises BadRequest.
    """
    weights = parameters * type_of(kind)[1].bits / 8
    return int(weights + min(weights, current) * HEADER_SHARE)


def measure(job: Job, settings: Settings, environ: Mapping[str, str]) -> int | None:
    """Bytes of the result, from the tool's dry run; None where it has none. Raises like ``quantize``."""
    return _result(job, _dry_run(job, _tool(job, settings, environ), environ))


def _dry_run(job: Job, tool: str, environ: Mapping[str, str]) -> dict[str, int]:
    """Bytes of all tensors before (``model``, of all parts of a split one) and after (``quant``)."""
    found: dict[str, int] = {}

    def heard(line: str) -> None:
        found.update((what, int(float(size) * 2**20)) for what, size in _TOTAL.findall(line))

    run(_command(job, tool, environ, "--dry-run"), heard, lambda: False)
    return found


def _result(job: Job, sizes: Mapping[str, int]) -> int | None:
    if sizes.keys() != {"model", "quant"}:
        return None
    return sizes["quant"] + max(0, job.source.stat().st_size - sizes["model"])  # headers are alike


def quantize(
    job: Job,
    say: Callable[[Step], None],
    stopped: Callable[[], bool],
    settings: Settings,
    environ: Mapping[str, str],
) -> None:
    """Write ``job.target``; it is removed again unless all went well. Blocking, for minutes.

    Raises BadRequest for what cannot be, Unsupported naming the build that is needed, NoSpace,
    Cancelled within a second after ``stopped`` says so, LoadFailed for all else.
    """
    tool = _tool(job, settings, environ)
    sizes = _dry_run(job, tool, environ)
    need_room(job.target, _result(job, sizes) or 0)
    progress = _Progress(sizes.get("model") or job.source.stat().st_size, say)
    with whole_or_gone(job.target):
        ended = run(_command(job, tool, environ), progress.heard, stopped)
        if ended.code or not job.target.is_file():
            raise _failure(job, ended)


def _tool(job: Job, settings: Settings, environ: Mapping[str, str]) -> str:
    """The tool's path, once the job is known to be possible with it."""
    check(job)
    found = able(settings, environ)
    if not found.ok:
        raise Unsupported(f"This machine cannot quantise: {found.why}.", hint=found.fix, detail=found.path)
    name = type_of(job.kind)[0]
    if name not in _known_types(Path(found.path)):
        raise Unsupported(f"This {TOOL} is too old for {name}.", hint="Update llama.cpp.", param="quantize")
    return found.path


def _command(job: Job, tool: str, environ: Mapping[str, str], *flags: str) -> Command:
    """Paths are absolute: the tool reads a target that begins with a digit as a type. But the
    importance matrix is named from within its folder, since its path is written into the result."""
    argv = [tool, *flags]
    folder = job.target.absolute().parent
    if job.allow_requantize:
        argv.append("--allow-requantize")
    if job.imatrix is not None:
        folder = job.imatrix.absolute().parent
        argv += ["--imatrix", f"./{job.imatrix.name}"]
    argv += [str(job.source.absolute()), str(job.target.absolute()), type_of(job.kind)[0]]
    argv += [str(job.threads)] if job.threads else []
    return Command(argv, scrubbed(environ), folder)


class _Progress:
    """Reads ``[  12/ 147] name - ..., size = 54.00 MiB -> ...`` and tells the rate of the bytes so far.

    A remark on a tensor may break its line in two, so the size counts wherever it stands.
    """

    def __init__(self, size: int, say: Callable[[Step], None]) -> None:
        self._size = size / 2**20
        self._say = say
        self._done = 0.0
        self._began = 0.0
        self._at: tuple[int, int] | None = None

    def heard(self, line: str) -> None:
        step, size = _STEP.search(line), _SIZE.search(line)
        now = time.monotonic()
        if step:
            self._began = self._began or now
            self._at = (int(step[1]), int(step[2]))
        if size and self._began:
            self._done += float(size[1])
        if self._at and (step or size):
            self._say(Step(*self._at, self._left(now - self._began)))

    def _left(self, spent: float) -> float | None:
        if not self._done or spent <= 0:
            return None
        return spent * max(0.0, self._size - self._done) / self._done


def _failure(job: Job, ended: Ended) -> Exception:
    """The tool's refusal in our words; what it printed goes to the log alone."""
    detail = ended.log()
    if no_space := full(job.target, "quantising", ended):
        return no_space
    if ended.said("requantizing from type"):
        return BadRequest(
            "The model is quantised already.",
            hint="Start from its F16, BF16 or F32 form, or allow it with --allow-requantize.",
            param="quantize",
            detail=detail,
        )
    if ended.said("imatrix"):
        return BadRequest(
            "The importance matrix is none, or not one for this model and type.",
            hint="Make one with llama-imatrix from the same model.",
            param="imatrix",
            detail=detail,
        )
    return LoadFailed("The model could not be quantised.", hint=_hint(ended), detail=detail)


def _hint(ended: Ended) -> str:
    if ended.code < 0:
        return "The tool was killed; perhaps the memory did not suffice. Try fewer threads."
    return "The log has the details; a newer llama.cpp may know this model."


__all__ = ["TYPES", "Job", "QuantType", "Step", "able", "check", "estimate", "measure", "quantize", "type_of"]
