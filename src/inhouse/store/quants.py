"""Which of a repository's GGUF files to take: split sets joined, sizes compared, one chosen with a reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ..core.errors import ModelNotFound

OVERHEAD: Final = 1.15
"""A loaded model takes its file and about this much, for buffers and a context of a few thousand tokens."""
BASE: Final = 2**29
GGUF: Final = ".gguf"
SHOWN: Final = 24

_GROUPS: Final = (
    ("Q4_K_M", "Q4_K", "Q4_K_L", "Q4_K_XL", "Q4_K_S", "MXFP4", "MXFP4_MOE", "NVFP4"),
    ("IQ4_NL", "Q4_1", "Q4_0", "IQ4_XS"),
    ("Q5_K_M", "Q5_K", "Q5_K_S", "Q5_K_L", "Q5_K_XL", "Q5_1", "Q5_0"),
    ("Q6_K", "Q6_K_L", "Q6_K_XL", "Q8_0", "Q8_K_L", "Q8_K_XL", "Q8_1"),
    ("Q3_K_XL", "Q3_K_L", "Q3_K_M", "Q3_K", "IQ3_M", "IQ3_S", "Q3_K_S", "IQ3_XS", "IQ3_XXS"),
    ("F16", "BF16"),
    ("Q2_K_XL", "Q2_K_L", "Q2_K", "IQ2_M", "Q2_K_S", "IQ2_S", "IQ2_XS", "IQ2_XXS"),
    ("F32",),
    ("TQ2_0", "TQ1_0", "IQ1_M", "IQ1_S"),
)
PREFERENCE: Final = tuple(quant for group in _GROUPS for quant in group)
"""What is taken first where nothing was asked for.

Four bits are where quality per byte and speed on a CPU (which reads every weight for every token) meet,
Q4_K_M best among them; then a little larger, then three bits. Sixteen bits come before two, which
damage most models, and after three, which need a fifth of the memory.
"""

_RANK: Final = {quant: rank for rank, quant in enumerate(PREFERENCE)}
_PART = re.compile(r"(?P<stem>.+)-(?P<at>[0-9]{5})-of-(?P<of>[0-9]{5})\.gguf\Z", re.IGNORECASE | re.ASCII)
_QUANT = re.compile(
    r"(?:\A|[./_-])(?P<quant>(?:UD-)?(?:I?Q[1-9]_[A-Z0-9]{1,3}(?:_[A-Z0-9]{1,3}){0,2}|TQ[12]_0"
    r"|MXFP4(?:_MOE)?|NVFP4|BF16|FP?(?:16|32)))(?=[./_-]|\Z)",
    re.IGNORECASE | re.ASCII,
)
_SIDECAR = re.compile(r"mmproj|(?<![a-z0-9])(?:mtp|eagle3|dflash|dspark)-", re.IGNORECASE)
_DRAFT = re.compile(r"(?:\A|[._-])draft(?:[._-]|\Z)", re.IGNORECASE)
_FULL: Final = {"FP16": "F16", "FP32": "F32"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One model of a repository. ``size`` in bytes, of all parts together, 0 where one is unknown.
    ``parts`` are the files of a split set in order, else just ``file``, which is the first of them."""

    file: str
    size: int
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chosen:
    """``said`` is the reason in a sentence for the user, "" when he named the file himself."""

    choice: Choice
    quant: str
    said: str


def _base(file: str) -> str:
    return file.rsplit("/", 1)[-1]


def quant_of(file: str) -> str:
    """The quantisation that a file's name tells, upper case, "" if none: ``Q4_K_M``, ``UD-Q4_K_XL``.

    The last one in the name counts; a folder's name where the file's own says nothing.
    """
    stem = file[: -len(GGUF)] if file.lower().endswith(GGUF) else file
    for part in reversed(stem.split("/")):
        found = [match["quant"].upper() for match in _QUANT.finditer(part)]
        if found:
            return _FULL.get(found[-1], found[-1])
    return ""


def _is_sidecar(file: str) -> bool:
    base = _base(file)
    # "model-imatrix-Q4_K_M.gguf" is a model quantised with a matrix; "imatrix.gguf" is the matrix itself.
    return bool(_SIDECAR.search(base)) or ("imatrix" in base.lower() and not quant_of(base))


def group(files: Iterable[tuple[str, int]]) -> list[Choice]:
    """The models among a repository's (path, bytes), by path; bytes 0 are unknown.

    Projectors, importance matrices, draft heads and incomplete split sets are left out; draft models
    only where there is something else.
    """
    single: list[Choice] = []
    sets: dict[tuple[str, int], dict[int, tuple[str, int]]] = {}
    for file, size in files:
        if not file.lower().endswith(GGUF) or _is_sidecar(file):
            continue
        match = _PART.match(file)
        if match is None:
            single.append(Choice(file, size, (file,)))
        else:
            sets.setdefault((match["stem"], int(match["of"])), {})[int(match["at"])] = (file, size)
    for (_, count), parts in sets.items():
        if 0 < count == len(parts) and all(at in parts for at in range(1, count + 1)):
            ordered = [parts[at] for at in range(1, count + 1)]
            known = all(size for _, size in ordered)
            size = sum(size for _, size in ordered) if known else 0
            single.append(Choice(ordered[0][0], size, tuple(file for file, _ in ordered)))
    choices = sorted(single, key=lambda choice: choice.file)
    return [c for c in choices if not _DRAFT.search(_base(c.file)[: -len(GGUF)])] or choices


def projector(files: Iterable[str]) -> str:
    """The projector (mmproj) to bring along with a model, "" if there is none.

    F16 first: every engine build reads it. BF16 and F32 give the same answers, Q8_0 almost.
    """
    order = ("F16", "BF16", "F32", "Q8_0")

    def rank(file: str) -> tuple[int, int, str]:
        quant = quant_of(_base(file))
        return (order.index(quant) if quant in order else len(order), len(file), file)

    found = [f for f in files if "mmproj" in _base(f).lower() and f.lower().endswith(GGUF)]
    return min(found, key=rank, default="")


def _order(choice: Choice) -> tuple[int, bool, int, int, str]:
    """Sorts choices by preference; a plain quant before its ``UD-`` kin, then the plainest name."""
    quant = quant_of(choice.file)
    rank = _RANK.get(quant.removeprefix("UD-"), len(PREFERENCE))
    return (rank, quant.startswith("UD-"), choice.file.count("/"), len(choice.file), choice.file)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 50_000_000 else f"{size / 1e6:.1f} MB"


def _named(choice: Choice) -> str:
    size = f" ({_gigabytes(choice.size)})" if choice.size else ""
    return (quant_of(choice.file) or _base(choice.file)) + size


def _fits(choice: Choice, room: int) -> bool:
    return not room or choice.size * OVERHEAD + BASE <= room


def _wanted(choices: Sequence[Choice], wanted: str) -> Choice | None:
    """By path, its ``--`` form or basename (all of any part), else by quant; None if there is none."""
    for form in (lambda f: f, lambda f: f.replace("/", "--"), _base):
        named = [c for c in choices if any(form(part).lower() == wanted.lower() for part in c.parts)]
        if len(named) == 1:
            return named[0]
    quant = _FULL.get(wanted.upper(), wanted.upper())
    exact = [c for c in choices if quant_of(c.file) == quant]
    kin = [c for c in choices if quant_of(c.file) == f"UD-{quant}"]
    return min(exact or kin, key=_order, default=None)


def _missing(choices: Sequence[Choice], wanted: str) -> ModelNotFound:
    error = ModelNotFound(wanted[:200])
    names = sorted({quant_of(c.file) or c.file for c in choices})
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    error.hint = f"There is: {shown}." if names else "There is no GGUF model in it."
    return error


def choose(choices: Sequence[Choice], wanted: str, room: int) -> Chosen:
    """Take the file that was asked for, or the best that fits.

    ``wanted``: "", a quant in any case, or a file's path, its ``/`` -> ``--`` form, or its basename where
    only one has it. ``room``: bytes of memory that a model may use, 0 if unknown.
    Raises ModelNotFound, whose hint lists what there is.
    """
    if wanted or not choices:
        named = _wanted(choices, wanted)
        if named is None:
            raise _missing(choices, wanted)
        return Chosen(named, quant_of(named.file), "")
    ordered = sorted(choices, key=_order)
    best = ordered[0]
    taken = next((c for c in ordered if _fits(c, room)), None)
    if taken is None:
        # Smallest of all, it may still run with less context; the loader has the last word.
        taken = min(ordered, key=lambda c: c.size)
        only = "the only one" if len(ordered) == 1 else "the smallest"
        said = f"{_named(taken)} chosen, {only} there is: it may not fit into {_gigabytes(room)} of memory."
    elif taken is not best:
        said = f"{_named(taken)} chosen: {_named(best)} does not fit into {_gigabytes(room)} of memory."
    else:
        said = f"{_named(taken)} chosen of {len(ordered)} quantisations." if len(ordered) > 1 else ""
    return Chosen(taken, quant_of(taken.file), said)


__all__ = ["PREFERENCE", "Choice", "Chosen", "choose", "group", "projector", "quant_of"]
