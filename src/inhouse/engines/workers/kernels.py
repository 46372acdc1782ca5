"""Brings our native kernels into the engine of this process; run as a program, it tells what comes of it.

``python -m inhouse.engines.workers.kernels LIBRARY`` imports the xllamacpp package on its path, attaches the
library and prints its report, one line of JSON, on standard output. A kernel that crashes in its self-test
then breaks this process and no other.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path
from typing import Any


def attach(library: str, engine: Any) -> ctypes.CDLL:
    """Put the kernels of ``library`` before those of ``engine`` (the xllamacpp module), whose server must
    not have been made yet. Raises OSError, AttributeError.

    They may still be testing themselves then: the engine waits for that when it loads its first weight,
    ``report`` at once. The handle is that of the module's own file, which holds llama.cpp's symbols: Python
    loads modules so that nobody else sees theirs.
    """
    module = ctypes.CDLL(_extension(engine), mode=os.RTLD_NOW | os.RTLD_NOLOAD)
    kernels = ctypes.CDLL(library)
    kernels.inhouse_kernels_attach.argtypes = [ctypes.c_void_p]
    kernels.inhouse_kernels_attach.restype = ctypes.c_int
    kernels.inhouse_kernels_attach(module._handle)
    return kernels


def report(kernels: ctypes.CDLL) -> str:
    """What came of it, as JSON, once the self-test has ended. Raises AttributeError."""
    kernels.inhouse_kernels_report.argtypes = []
    kernels.inhouse_kernels_report.restype = ctypes.c_char_p
    return bytes(kernels.inhouse_kernels_report() or b"").decode("utf-8", "replace")


def attached(library: str, engine: Any) -> None:
    """The same for a worker, which goes on without them whatever happens; "" is no library."""
    if not library:
        return
    try:
        attach(library, engine)
    except Exception as error:  # noqa: BLE001 - they make a model faster, they must never stop it
        with contextlib.suppress(OSError):
            os.write(2, f"the kernels stay out: {error}\n".encode())


def _extension(engine: Any) -> str:
    """The shared object of the package: the module itself, or the one in its folder."""
    own = str(engine.__file__)
    if own.endswith(".so"):
        return own
    return next((str(path) for path in sorted(Path(own).parent.glob("xllamacpp*.so"))), own)


def main() -> None:
    """Print the report of the library that is named; the engine's log goes to standard error."""
    answer = os.dup(1)
    os.dup2(2, 1)
    import xllamacpp

    told = report(attach(sys.argv[1], xllamacpp))
    with os.fdopen(answer, "w", encoding="utf-8") as file:
        file.write(told.strip() + "\n")


if __name__ == "__main__":
    main()
