"""Asking the system: small files, and programs that may be missing, hang, crash or babble."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROBE_TIMEOUT: Final = 5.0
FILE_CEILING: Final = 2**20
PIECE: Final = 2**14
ANSWER_CEILING: Final = 2**22
NATIVES: Final = Path(__file__).with_name("natives")
KEPT: Final = (
    "PATH",
    "HOME",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "XDG_DATA_DIRS",
    "XDG_CONFIG_DIRS",
    "XDG_RUNTIME_DIR",
    "VK_ICD_FILENAMES",
    "VK_DRIVER_FILES",
    "ROCM_PATH",
    "ONEAPI_ROOT",
    "SYSTEMROOT",
    "WINDIR",
    "PROGRAMDATA",
    "TEMP",
    "TMP",
    "TMPDIR",
)
"""Where programs and drivers lie. Keys and other settings of ours are no business of a driver's tool."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``text`` is "" when there is none; then ``why`` says why, unless there is no such program.

    ``code`` is the program's exit status."""

    text: str = ""
    why: str = ""
    code: int = 0


def read(path: Path) -> str:
    """A small file of /proc or /sys, "" when it cannot be read."""
    text = b""
    try:
        with path.open("rb", buffering=0) as file:
            # In pieces: for a read of so many bytes so much memory is taken first, and this is asked often.
            while len(text) < FILE_CEILING and (piece := file.read(min(PIECE, FILE_CEILING - len(text)))):
                text += piece
    except OSError:
        return ""
    return text.decode("utf-8", "replace")


def number(text: str) -> int:
    """A decimal number that stands alone, 0 for anything else."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def link(path: Path) -> str:
    """The last part of what a symbolic link points to, "" if it is none."""
    try:
        return path.readlink().name
    except (OSError, ValueError):
        return ""


def folder(path: Path) -> list[Path]:
    """What lies in a folder, sorted; nothing when it cannot be read."""
    try:
        return sorted(path.iterdir())
    except OSError:
        return []


def environ() -> dict[str, str]:
    """The environment for drivers' tools: where things lie, in plain English."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | {"LC_ALL": "C"}


def ask(*command: str, timeout: float | None = None) -> Answer:
    """What a program prints; within ``timeout`` (five) seconds and a ceiling of 4 MiB, or not at all."""
    program = shutil.which(command[0])
    if program is None:
        return Answer()
    try:
        process = subprocess.Popen(
            (program, *command[1:]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environ(),
            start_new_session=sys.platform != "win32",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, ValueError) as error:
        return Answer(why=f"it could not be started ({type(error).__name__})")
    return _heard(process, PROBE_TIMEOUT if timeout is None else timeout)


def native(name: str, *arguments: str, timeout: float | None = None) -> Answer:
    """What one of our programs in ``natives`` prints: drivers' libraries are only loaded there."""
    return ask(sys.executable, "-P", str(NATIVES / f"{name}.py"), *arguments, timeout=timeout)


def _heard(process: subprocess.Popen[bytes], timeout: float) -> Answer:
    """Reads in a thread: a grandchild that holds the pipe, or a process that a driver never lets go of,
    must not hold us. The thread keeps the pipe as long as it reads, and closes it: else its number would
    soon be another file's."""
    out, pipe = bytearray(), process.stdout

    def listen() -> None:
        if pipe is None:  # not with the pipe that we ask for
            return
        with pipe, contextlib.suppress(OSError, ValueError):
            while len(out) <= ANSWER_CEILING and (piece := os.read(pipe.fileno(), 2**16)):
                out.extend(piece)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    listener.join(timeout)
    late, babble = listener.is_alive(), len(out) > ANSWER_CEILING
    if not late and not babble:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
    late = late or process.poll() is None
    if late or babble:
        _end(process)
    listener.join(1.0)
    if babble:
        return Answer(why="it printed without end")
    if late:
        return Answer(why=f"it did not answer within {timeout:g} seconds")
    return _judged(process.returncode, out.decode("utf-8", "replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1.0)


def _judged(code: int, text: str) -> Answer:
    if code == 0:
        return Answer(text)
    if code < 0:
        with contextlib.suppress(ValueError):
            return Answer(why=f"it crashed ({signal.Signals(-code).name})", code=code)
    said = first_words(text)
    return Answer(why=f"it failed with code {code}" + (f": {said}" if said else ""), code=code)


def first_words(text: str, most: int = 160) -> str:
    """The first line that says something, in printable characters, cut short."""
    line = next((line for line in text.splitlines() if re.search(r"\w", line)), "")
    clean = "".join(c if c.isprintable() else " " for c in line[: 4 * most])
    clean = " ".join(clean.split())
    return clean if len(clean) <= most else clean[: most - 1] + "…"
