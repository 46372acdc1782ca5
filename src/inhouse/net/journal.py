"""What a killed transfer left: a sparse file and a journal of the pieces in it.

``data.part``     the file, at its full length from the start
``data.journal``  a JSON line that says of what, then a line for each piece that was written: its index;
                  ``s N``: the first N pieces listed are on the disk even after a power failure
``data``          the finished file; its journal stays, so that it can be checked against the source
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

PART: Final = "data.part"
DATA: Final = "data"
JOURNAL: Final = "data.journal"
LONGEST: Final = 2**24
"""A journal of ours is far smaller."""


@dataclass(frozen=True, slots=True)
class Past:
    """What a journal says. ``validator`` and ``sha256`` are "" where they were unknown. ``boot`` tells
    one run of the machine from the next."""

    size: int
    piece: int
    validator: str
    sha256: str
    boot: str = ""
    done: frozenset[int] = field(default=frozenset(), compare=False)

    @property
    def here(self) -> int:
        """Bytes of the file that need not be fetched again."""
        return sum(min(self.piece, self.size - index * self.piece) for index in self.done)

    def is_of(self, sha256: str, size: int) -> bool:
        """Whether it is certainly the file with this digest."""
        return bool(sha256) and self.sha256 == sha256 and size in (0, self.size)

    def same_version(self, size: int | None, validator: str) -> bool:
        """Whether it is the version that the source has now."""
        return bool(validator) and (self.size, self.validator) == (size, validator)


def boot() -> str:
    """Tells this run of the machine from others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(round(psutil.boot_time() / 60))


def read(folder: Path) -> Past | None:
    """The journal of a folder whose file is there. None if there is none to rely on. Raises OSError."""
    if (folder / DATA).exists() and not (folder / PART).exists():
        (folder / DATA).replace(folder / PART)
    try:
        size = (folder / PART).stat().st_size
        raw = (folder / JOURNAL).read_bytes() if (folder / JOURNAL).stat().st_size < LONGEST else b""
    except FileNotFoundError:
        return None
    head, *lines = raw.split(b"\n")[:-1] or [b""]  # what has no line end was torn
    try:
        past = Past(**json.loads(head))
        done = _pieces(lines, past.boot == boot())
        whole = past.size == size > 0 and past.piece > 0 and isinstance(past.validator, str)
    except (ValueError, TypeError):
        return None
    if not whole or (done and max(done) * past.piece >= size):
        return None
    return Past(past.size, past.piece, past.validator, past.sha256, past.boot, frozenset(done))


def _pieces(lines: list[bytes], same_boot: bool) -> list[int]:
    found: list[int] = []
    safe = 0
    for line in lines:
        if line.startswith(b"s "):
            safe = int(line[2:])
        else:
            found.append(int(line))
    if any(index < 0 for index in found):
        raise ValueError("a piece before the first")
    return found if same_boot else found[:safe]


class Journal:
    """Appends to a folder's journal, one write a call; ``count`` pieces are in it. Raises OSError."""

    def __init__(self, folder: Path, past: Past) -> None:
        """Begin one that lists ``past.done``, in place of what is there."""
        path, temp = folder / JOURNAL, folder / f"{JOURNAL}.tmp"
        head = {"size": past.size, "piece": past.piece, "validator": past.validator, "sha256": past.sha256}
        lines = [json.dumps(head | {"boot": boot()}), *(str(index) for index in sorted(past.done))]
        temp.write_bytes("".join(f"{line}\n" for line in lines).encode())
        temp.replace(path)
        self._file = path.open("ab", buffering=0)
        self.count = len(past.done)

    def add(self, pieces: list[int]) -> None:
        if pieces:
            self._file.write(b"".join(b"%d\n" % index for index in pieces))
            self.count += len(pieces)

    def synced(self, count: int) -> None:
        """The first ``count`` pieces are durable."""
        self._file.write(b"s %d\n" % count)
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
