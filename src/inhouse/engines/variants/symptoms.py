"""What the end of a program means: whether the build itself is broken here, and why. Pure."""

from __future__ import annotations

import re
from typing import Final

_SIGNS: Final = (
    (
        r"error while loading shared libraries: (\S+?):|Library not loaded: (\S+)|"
        r"(\S+\.so[.\d]*): cannot open shared object|(\S+\.dll) (?:was )?not found|"
        r"DLL load failed while importing (\S+)",
        "the library {} is missing",
    ),
    (r"version [`'](GLIBC(?:XX)?_[\d.]+)' not found", "the system's C library is too old ({})"),
    (r"Illegal instruction|SIGILL|signal 4\b|0xC000001D", "its instructions are not this CPU's"),
    (r"undefined symbol: (\S+)|Symbol not found: (\S+)", "a library lacks {}"),
    (r"cannot execute binary file|Exec format error|Bad CPU type", "it was made for another kind of machine"),
    (r"CUDA driver version is insufficient|provided PTX was compiled", "the NVIDIA driver is too old"),
    (r"no kernel image is available", "it has no code for this GPU"),
    (
        r"no CUDA-capable device|no ROCm-capable device|no usable GPU|failed to initialize (?:CUDA|ROCm|HIP)|"
        r"ggml_vulkan: No devices found|No device of requested type|invalid device: ",
        "it finds no device to compute on",
    ),
    (r"exit code 12[67]\b|ModuleNotFoundError: No module named 'xllamacpp'", "it or a part of it is gone"),
)

_OF_THE_MODEL: Final = re.compile(r"error loading model|failed to load model|chat.template", re.IGNORECASE)
"""The engine runs and refuses the model, and repeats what is written in it: names of its architecture and
tokenizer, its template. A model must not be able to speak against a build so."""

_CODES: Final = {
    -4: "its instructions are not this CPU's",
    132: "its instructions are not this CPU's",
    126: "it cannot be run",
    127: "it or a library that it needs is missing",
    0xC000001D: "its instructions are not this CPU's",
    0xC0000135: "a library that it needs is missing",
}


def broken(text: str, code: int | None = None) -> str:
    """Why a build cannot work here, by what it printed and its exit code; "" if neither tells.

    Only what lies in the build and the machine counts, never the model, the memory or the request: what
    another build would fail at, too, is no reason to take another build. The first line of ``text`` is ours,
    the rest may be the program's.
    """
    if _OF_THE_MODEL.search(text):
        text = text.partition("\n")[0]
    for pattern, why in _SIGNS:
        if match := re.search(pattern, text):
            what = next((one for one in match.groups() if one), "")
            return why.format(what.rpartition("/")[2][:60].rstrip(":"))
    return _CODES.get(code, "") if code is not None else ""


_CRASHED: Final = re.compile(r"\b(SIGSEGV|SIGILL|SIGABRT|SIGBUS|SIGFPE)\b")


def crashed(text: str) -> str:
    """The signal that ended a program which did something wrong itself, "" if none is told."""
    found = _CRASHED.search(text)
    return found[1] if found else ""


__all__ = ["broken", "crashed"]
