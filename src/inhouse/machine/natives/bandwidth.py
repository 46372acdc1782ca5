"""How fast this machine's memory is: all given cores read, then copy, buffers larger than the caches.

The C library does the work (ctypes lets go of Python's lock meanwhile): ``memchr`` and ``memcmp`` only
read, ``memmove`` reads and writes. Of each the best of some short spans counts, as in STREAM, since
whatever else runs can only take away. What was copied went through the memory as well, so reading is told
to be at least as fast.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

SPAN: Final = 0.06
SPANS: Final = 4
FILLING: Final = 0.5
PIECE: Final = 2**23
LEAST: Final = 2**24


def library() -> Any:
    lib = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
    lib.memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    lib.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    lib.memmove.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    lib.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    for name in ("memchr", "memmove", "memset"):
        getattr(lib, name).restype = ctypes.c_void_p
    return lib


class Test:
    """``size`` bytes for each thread; one thread for each CPU of ``cpus`` (where it can be bound)."""

    def __init__(self, size: int, cpus: list[int]) -> None:
        self._lib = library()
        self._size = max(LEAST, size // PIECE * PIECE)
        self._cpus = cpus
        self._gate = threading.Barrier(len(cpus))
        self.filled: list[int] = []
        self.spans: dict[str, list[list[float]]] = {"memchr": [], "memcmp": [], "memmove": []}
        """Bytes a second by kernel, thread and span."""

    def run(self) -> dict[str, float]:
        """The best of all threads together, by kernel."""
        threads = [threading.Thread(target=self._work, args=(cpu,)) for cpu in self._cpus]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {
            name: max((sum(column) for column in zip(*rows, strict=True)), default=0.0)
            for name, rows in self.spans.items()
        }

    def _work(self, cpu: int) -> None:
        try:
            self._measure(cpu)
        except BaseException:
            self._gate.abort()  # or the others wait for ever
            raise

    def _measure(self, cpu: int) -> None:
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, {cpu})
        memory = mmap.mmap(-1, self._size)
        if hasattr(mmap, "MADV_HUGEPAGE"):  # as the weights are kept
            with contextlib.suppress(OSError):
                memory.madvise(mmap.MADV_HUGEPAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        size = self._fill(start)
        self.filled.append(size)
        half, lib = size // 2, self._lib
        self._time("memchr", size, lambda: lib.memchr(start, 2, size))
        self._time("memcmp", size, lambda: lib.memcmp(start, start + half, half))
        self._time("memmove", size, lambda: lib.memmove(start + half, start, half))

    def _fill(self, start: int) -> int:
        """Touch the pages, here, so that they are real and near this core; in a virtual machine that may
        be slow, then less is used."""
        end, done = time.perf_counter() + FILLING, 0
        while done < self._size and (done < LEAST or time.perf_counter() < end):
            self._lib.memset(start + done, 1, PIECE)
            done += PIECE
        return done

    def _time(self, name: str, size: int, call: Callable[[], object]) -> None:
        rates = []
        for _ in range(SPANS):
            self._gate.wait()
            began, done = time.perf_counter(), 0
            while (spent := time.perf_counter() - began) < SPAN or not done:
                call()
                done += size
            rates.append(done / max(spent, 1e-9))
        self.spans[name].append(rates)


def main(order: dict[str, Any]) -> dict[str, Any]:
    test = Test(int(order["size"]), [int(cpu) for cpu in order["cpus"]])
    others = os.times()
    began = time.perf_counter()
    rates = test.run()
    ours = os.times()
    return {
        "read": int(max(rates.values())),
        "copy": int(rates["memmove"]),
        "size": sum(test.filled),
        "seconds": round(time.perf_counter() - began, 3),
        "cpu": round(ours.user + ours.system - others.user - others.system, 3),
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))  # noqa: T201
