"""Files that others own: opened only if they are regular, so that no FIFO or device is ever waited for."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Final

from ..core.errors import BadRequest

_FLAGS: Final = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


def open_regular(path: Path) -> io.FileIO:
    """Open a file for reading, without a buffer. Raises OSError, and BadRequest if it is no regular file."""
    handle = os.open(path, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise BadRequest("That is not a regular file.", hint="Name a .gguf file.", param="model")
        return io.FileIO(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_small(path: Path, limit: int) -> bytes:
    """A small file whole; b"" where it is none, or longer than ``limit`` bytes. Never raises OSError."""
    try:
        with open_regular(path) as file:
            data = file.read(limit + 1) or b""
    except (OSError, BadRequest):
        return b""
    return data if len(data) <= limit else b""


__all__ = ["open_regular", "read_small"]
