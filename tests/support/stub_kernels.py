"""A library with the outside of our kernels and nothing inside: compiled in a test, where there is a C compiler.

It keeps to the same contract (attach, report, ``ggml_backend_init``, the environment), so that everything
around the real one can be tried without it, and in moods that the real one should never be in.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
compiled = pytest.mark.skipif(
    sys.platform != "linux" or COMPILER is None, reason="needs a C compiler, on Linux"
)

SOURCE = r"""
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifndef MOOD
#define MOOD 0
#endif
enum { GOOD, OUT, CRASH, HANG, BABBLE };
static char text[512] = "{}";
static void tell(void) {
    const char *path = getenv("INHOUSE_KERNELS_REPORT");
    if (!path) return;
    char aside[4096];
    snprintf(aside, sizeof aside, "%s.tmp", path);
    FILE *file = fopen(aside, "w");
    if (!file) return;
    fputs(text, file);
    fclose(file);
    rename(aside, path);
}
int inhouse_kernels_attach(void *handle) {
    const char *wish = getenv("INHOUSE_KERNELS");
    void *init = handle ? dlsym(handle, "ggml_init") : dlsym(RTLD_DEFAULT, "ggml_init");
    int on = MOOD == GOOD && init && !(wish && !strcmp(wish, "off"));
    if (MOOD == CRASH) raise(SIGSEGV);
    if (MOOD == HANG) sleep(600);
    if (on)
        strcpy(text, "{\"version\": \"9.9\", \"on\": true, \"why\": \"\", \"isa\": \"stub\","
                     " \"types\": {\"q4_K\": \"\", \"q5_0\": \"its self-test failed\"},"
                     " \"tensors\": {\"q4_K\": 168, \"q6_K\": 29}, \"bytes\": 934000000}");
    else
        sprintf(text, "{\"version\": \"9.9\", \"on\": false, \"why\": \"%s\"}",
                init ? "it was told to stay out" : "the engine's symbols are not there");
    if (MOOD == BABBLE) strcpy(text, "no JSON");
    tell();
    return on;
}
const char *inhouse_kernels_report(void) { return text; }
void *ggml_backend_init(void) {
    /* Returning NULL makes the program close us: it may, since nothing of ours is in use. */
    inhouse_kernels_attach(NULL);
    return NULL;
}
"""

MOODS = ("good", "out", "crash", "hang", "babble")


def library(folder: Path, mood: str = "good") -> Path:
    """Compile one into ``folder``; good (on), out (off), crash, hang or babble."""
    folder.mkdir(parents=True, exist_ok=True)
    source, made = folder / "stub.c", folder / "libinhouse_kernels.so"
    source.write_text(SOURCE, "utf-8")
    words = [COMPILER or "cc", "-shared", "-fPIC", f"-DMOOD={MOODS.index(mood)}", "-o", made, source, "-ldl"]
    subprocess.run([str(word) for word in words], check=True, capture_output=True)
    return made


def package(folder: Path, mood: str = "good") -> Path:
    """The Python package that brings it, importable from ``folder``."""
    inside = folder / "inhouse_kernels"
    library(inside, mood)
    text = "from pathlib import Path\n\n\ndef library():\n    return Path(__file__).with_name('libinhouse_kernels.so')\n"
    (inside / "__init__.py").write_text(text, "utf-8")
    return folder
