"""Runs a tool that computes in bulk (a quantiser, a converter) as a supervised child. Blocking."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from ..core.errors import Cancelled, LoadFailed, NoSpace

ASK_EVERY: Final = 0.2
"""Seconds after which a quiet tool's caller is asked whether he still wants it."""

LAST_WORDS: Final = 2.0
"""Seconds without a line after which a tool that has ended has said all."""

TAIL: Final = 200
"""Last lines of output that are kept for the log."""

LONGEST_LINE: Final = 2000

_END: Final = re.compile(rb"[\r\n]+")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a tool ended: its exit code and the last it printed."""

    code: int
    tail: tuple[str, ...]

    def said(self, text: str) -> bool:
        """Whether one of the last lines holds ``text``."""
        return any(text in line for line in self.tail)

    def log(self) -> str:
        """The end of what it printed, for the log."""
        return "\n".join(self.tail[-20:])


@dataclass(frozen=True, slots=True)
class Step:
    """``done`` of ``total`` (tensors, percent); ``left`` is the expected rest in seconds, None unknown."""

    done: int
    total: int
    left: float | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: ``argv`` with an absolute program, ``env`` whole, ``folder`` to run it in."""

    argv: Sequence[str]
    env: Mapping[str, str]
    folder: Path


def run(command: Command, heard: Callable[[str], None], stopped: Callable[[], bool]) -> Ended:
    """Run a tool at low priority, hand over each line that it prints, and wait for its end.

    It and all it started are killed, within a second, when ``stopped`` says so or anything is raised
    here; it dies with this process too. Raises Cancelled, and LoadFailed when it cannot be started.
    """
    child = _start(command)
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_read, args=(child.stderr, lines), daemon=True, name="tool-output")
    reader.start()
    tail: list[str] = []
    try:
        _order(child.stdin, command)
        while True:
            if stopped():
                raise Cancelled("The work was cancelled.")
            ended = child.poll() is not None
            try:
                line = lines.get(timeout=LAST_WORDS if ended else ASK_EVERY)
            except queue.Empty:
                if ended:
                    break  # what it left behind holds its output open, and is killed below
                continue
            if line is None:
                break
            tail = [*tail[-TAIL:], line]
            heard(line)
        return Ended(child.wait(), tuple(tail))
    finally:
        _kill(child)
        reader.join(timeout=5)
        for pipe in (child.stdin, child.stderr):
            with contextlib.suppress(OSError, ValueError):
                pipe.close() if pipe else None


NEARLY_FULL: Final = 2**20


@contextlib.contextmanager
def whole_or_gone(target: Path) -> Iterator[None]:
    """Remove ``target`` again if the block raises."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            target.unlink()
        raise


def need_room(target: Path, size: int) -> None:
    """Raise NoSpace unless ``size`` bytes are free where ``target`` will lie."""
    free = _free(target)
    if free is not None and free < size:
        raise NoSpace(
            f"The result needs about {size / 2**20:,.0f} MiB, but {free / 2**20:,.0f} MiB are free.",
            hint="Free some space, e.g. with: inhouse rm MODEL",
        )


def full(target: Path, doing: str, ended: Ended) -> NoSpace | None:
    """The error that a tool's end means if the disk is full."""
    free = _free(target)
    if not ended.said("No space left") and (free is None or free >= NEARLY_FULL):
        return None
    hint = "Free some space, e.g. with: inhouse rm MODEL"
    return NoSpace(f"The disk is full: {doing} stopped.", hint=hint, detail=ended.log())


def _free(target: Path) -> int | None:
    with contextlib.suppress(OSError):
        return shutil.disk_usage(target.absolute().parent).free
    return None


def _start(command: Command) -> subprocess.Popen[bytes]:
    options: dict[str, Any] = {"start_new_session": True} if sys.platform != "win32" else {}
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.workers.tool"],
            env=dict(command.env),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
            **options,
        )
    except OSError as error:
        raise LoadFailed("The tool could not be started.", hint="Try again.", detail=str(error)) from error


def _order(pipe: IO[bytes] | None, command: Command) -> None:
    order = json.dumps({"command": list(command.argv), "folder": str(command.folder)}).encode() + b"\n"
    with contextlib.suppress(OSError):  # it died at once; its exit code tells
        if pipe is not None:
            pipe.write(order)


def _read(pipe: IO[bytes] | None, lines: queue.Queue[str | None]) -> None:
    """Lines end at a line feed, or at a carriage return as progress bars have it."""
    rest = b""
    with contextlib.suppress(OSError, ValueError):
        while chunk := pipe.read(65536) if pipe else b"":
            *whole, rest = _END.split(rest + chunk)
            for line in whole:
                lines.put(line[:LONGEST_LINE].decode("utf-8", "replace"))
            rest = rest[-LONGEST_LINE:]
    if rest:
        lines.put(rest.decode("utf-8", "replace"))
    lines.put(None)


def _kill(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            child.kill()
        else:
            os.killpg(child.pid, signal.SIGKILL)  # its children too, which may outlive it
    child.wait()
