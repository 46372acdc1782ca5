"""Faults that only the system makes, in a server under test: a clock that jumps, a disk that is full, no forks.

A little C library, preloaded into the server alone (its workers have an environment of their own), reads
three numbers from a file that the test writes: ``with Shim(folder) as shim: Server(home, shim.env(home))``,
then ``shim.clock(+86_400)``, ``shim.full(True)``, ``shim.forks(False)`` at any time. Linux with a C compiler.
"""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
import sys
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *told;
static const char *folder;
static int (*real_clock)(clockid_t, struct timespec *);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static pid_t (*real_fork)(void);
static int64_t none[3];

__attribute__((constructor)) static void begin(void) {
    real_clock = dlsym(RTLD_NEXT, "clock_gettime");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_fork = dlsym(RTLD_NEXT, "fork");
    folder = getenv("SHIM_FOLDER");
    told = none;
    int file = open(getenv("SHIM_TOLD") ? getenv("SHIM_TOLD") : "", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        void *at = mmap(NULL, 24, PROT_READ, MAP_SHARED, file, 0);
        if (at != MAP_FAILED) told = at;
        close(file);
    }
}

int clock_gettime(clockid_t id, struct timespec *at) {
    int code = real_clock(id, at);
    if (!code && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += told[0];
    return code;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    int code = clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return code;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}

static int full(int file) {
    char link[64], path[4096];
    struct stat facts;
    if (!told[1] || !folder || fstat(file, &facts) || !S_ISREG(facts.st_mode)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return !strncmp(path, folder, strlen(folder));
}

ssize_t write(int file, const void *data, size_t size) {
    if (full(file)) { errno = ENOSPC; return -1; }
    return real_write(file, data, size);
}

ssize_t pwrite64(int file, const void *data, size_t size, off_t at) {
    if (full(file)) { errno = ENOSPC; return -1; }
    return real_pwrite(file, data, size, at);
}

pid_t fork(void) {
    if (told[2]) { errno = EAGAIN; return -1; }
    return real_fork();
}
"""


def possible() -> bool:
    """Whether this machine can have it."""
    return sys.platform == "linux" and shutil.which("cc") is not None


class Shim:
    """``folder`` takes the library and the file of numbers."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        source, self._library, self._told = folder / "shim.c", folder / "shim.so", folder / "told"
        source.write_text(SOURCE)
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(source), "-ldl"]
        subprocess.run(command, check=True, timeout=60)
        self._told.write_bytes(bytes(24))
        with self._told.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 24)

    def env(self, full: Path) -> dict[str, str]:
        """The environment of a server whose disk is said to be full below ``full``."""
        preload = {"LD_PRELOAD": str(self._library), "SHIM_TOLD": str(self._told)}
        return {**preload, "SHIM_FOLDER": str(full.resolve())}

    def clock(self, seconds: int) -> None:
        """The clock on the wall is off by so much; the monotonic one is not."""
        self._set(0, seconds)

    def full(self, yes: bool) -> None:
        """No byte can be written to a file below the folder."""
        self._set(1, int(yes))

    def forks(self, yes: bool) -> None:
        """Whether the server can start processes."""
        self._set(2, int(not yes))

    def _set(self, at: int, value: int) -> None:
        struct.pack_into("q", self._map, 8 * at, value)
