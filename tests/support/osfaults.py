"""Makes the N-th operation on the files of a folder fail, inside this process.

``with failing(folder, 3, errno.EIO) as shim: ...`` lets the third of the operations on anything below
``folder`` fail; ``shim.count`` says how many there were, ``shim.hit`` what failed. Counted are those that
change something or that somebody waits for: open, write, fsync, rename, link, unlink, rmdir, mkdir, chmod,
utime, stat and scandir of blobs and manifests. ``kinds`` limits it to some; ``lasting`` lets all later ones
fail as well, as a full or dying disk does; ``after`` fails only after so many bytes were written.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PATHS = (
    "open",
    "rename",
    "replace",
    "link",
    "symlink",
    "unlink",
    "remove",
    "rmdir",
    "mkdir",
    "chmod",
    "utime",
)
ALL = frozenset({*PATHS, "fsync", "write", "stat", "scandir"})
WRITING = ALL - {"stat", "scandir"}


class Shim:
    def __init__(self, folder: Path, nth: int, code: int, kinds: frozenset[str], lasting: bool) -> None:
        self.folder = os.path.realpath(folder) + os.sep
        self.nth, self.code, self.kinds, self.lasting = nth, code, kinds, lasting
        self.count = 0
        self.hit = ""
        self.room: int | None = None
        """Bytes that may still be written; None: any."""
        self._lock = threading.Lock()

    def concerns(self, path: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        text = os.fsdecode(path)
        # Locks are no data: whether they can be taken is a test of its own.
        return (os.path.abspath(text) + os.sep).startswith(self.folder) and not text.endswith(".lock")

    def step(self, kind: str, what: Any) -> None:
        if kind not in self.kinds:
            return
        with self._lock:
            self.count += 1
            if self.count == self.nth or (self.lasting and self.hit and self.count > self.nth):
                self.hit = self.hit or f"{kind} of {os.path.basename(str(what))}"
                raise OSError(self.code, os.strerror(self.code), str(what))

    def wrote(self, size: int, what: Any) -> int:
        """How many of some bytes may be written. Raises OSError when the disk is full."""
        self.step("write", what)
        if self.room is None:
            return size
        with self._lock:
            if not self.room:
                self.hit = f"a full disk at {os.path.basename(str(what))}"
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(what))
            size = min(size, self.room)
            self.room -= size
            return size


class _Raw(io.FileIO):
    """A file whose writes count."""

    shim: Shim

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        return super().write(view[: self.shim.wrote(len(view), self.name)]) or 0


@contextlib.contextmanager
def failing(
    folder: Path,
    nth: int = 0,
    code: int = errno.EIO,
    *,
    kinds: frozenset[str] = WRITING,
    lasting: bool = False,
    room: int | None = None,
) -> Iterator[Shim]:
    """See the module. ``room``: bytes that the disk still has."""
    shim = Shim(folder, nth, code, kinds, lasting)
    shim.room = room
    real = {name: getattr(os, name) for name in (*PATHS, "fsync", "stat", "scandir", "write")}
    real_open, real_io_open = builtins.open, io.open

    def on_path(name: str) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **options: Any) -> Any:
            writes = name != "open" or bool((args[0] if args else 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if writes and (shim.concerns(path) or (args and shim.concerns(args[0]))):
                shim.step(name, path)
            return real[name](path, *args, **options)

        return call

    def reading(name: str) -> Callable[..., Any]:
        def call(path: Any = ".", *args: Any, **options: Any) -> Any:
            if shim.concerns(path) and any(part in os.fsdecode(path) for part in ("blobs", "manifests")):
                shim.step(name, path)
            return real[name](path, *args, **options)

        return call

    def fsync(handle: Any) -> None:
        shim.step("fsync", handle)
        real["fsync"](handle)

    def write(handle: int, data: Any) -> int:
        with contextlib.suppress(OSError):
            if shim.concerns(os.readlink(f"/proc/self/fd/{handle}")):
                data = memoryview(data)[: shim.wrote(len(data), handle)]
        return real["write"](handle, data)

    def opened(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **options: Any) -> Any:
        if not set(mode) & set("wxa+") or not shim.concerns(file) or "b" not in mode:
            return real_io_open(file, mode, buffering, *args, **options)
        shim.step("open", file)
        raw = _Raw(file, mode.replace("b", ""))
        raw.shim = shim
        if buffering == 0:
            return raw
        return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)

    patched: dict[str, Callable[..., Any]] = {name: on_path(name) for name in PATHS}
    patched |= {"fsync": fsync, "stat": reading("stat"), "scandir": reading("scandir"), "write": write}
    try:
        for name, call in patched.items():
            setattr(os, name, call)
        builtins.open = io.open = opened
        yield shim
    finally:
        for name, call in real.items():
            setattr(os, name, call)
        builtins.open, io.open = real_open, real_io_open
