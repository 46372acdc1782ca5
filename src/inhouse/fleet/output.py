"""What a worker prints: the last of it in memory, all of it in a log file that cannot grow for ever."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

TAIL = 64 * 1024
ROTATE = 2**20

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
_PATH = re.compile(r"(?<![\w.])(?:[A-Za-z]:)?(?:[\\/][^\\/\s'\"]*)*[\\/]([^\\/\s'\":;,)]*)")
_QUOTED_PATH = re.compile(r"""(['"])(?=[\\/]|[A-Za-z]:)[^'"]*[\\/]([^'"\\/]*)\1""")
_TROUBLE = re.compile(
    r"error|fail|exception|abort|cannot|can't|unable|invalid|not found|killed", re.IGNORECASE
)


class Output:
    """Takes in bytes as they come. The file is opened with the first byte, kept private (0600) and
    rotated once to ``.1``; a disk that refuses costs the log, never the worker."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._tail = bytearray()
        self._file: int | None = None
        self._written = 0

    def feed(self, data: bytes) -> None:
        self._tail += data
        if len(self._tail) > TAIL * 2:
            del self._tail[:-TAIL]
        if self._path is None:
            return
        try:
            self._write(self._path, data)
        except OSError:
            self.close()
            self._path = None

    def _write(self, path: Path, data: bytes) -> None:
        if self._file is not None and self._written + len(data) > ROTATE:
            self.close()
            path.replace(path.with_name(path.name + ".1"))
        if self._file is None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._written = os.fstat(self._file).st_size
        self._written += os.write(self._file, data)

    def tail(self) -> str:
        """The last 64 KiB as text."""
        return bytes(self._tail[-TAIL:]).decode("utf-8", "replace")

    def close(self) -> None:
        """Close the file; the tail stays. Idempotent."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None


def last_words(tail: str) -> str:
    """The line that says best why a worker ended, short, without escapes and without folders.

    The last of the final lines that speaks of trouble, else the last line of all.
    """
    lines = [line for raw in tail.splitlines()[-40:] if (line := _ESCAPES.sub("", raw).strip())]
    if not lines:
        return ""
    line = next((one for one in reversed(lines) if _TROUBLE.search(one)), lines[-1])
    return _PATH.sub(r"\1", _QUOTED_PATH.sub(r"\1\2\1", line[:1000]))[:200]
