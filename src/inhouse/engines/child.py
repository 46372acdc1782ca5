"""What a child process inherits from us: next to nothing."""

from __future__ import annotations

import os
import site
import tempfile
from collections.abc import Mapping

SPIN_COUNT = "10000"
"""How long OpenMP's threads spin at a barrier before they sleep. By default it is milliseconds: on
a machine whose cores are all taken that stops the engine almost wholly (measured with 135M beside
other work: under 3 tokens/s, with 1000 it is 16 to 34; alone, 0.5B decodes 2 % slower with 1000 than with
this, and 40 % slower when threads sleep at once)."""

HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Has glibc (2.35 and later) ask the kernel for transparent huge pages, where they are given to those who
ask. A decode reads all weights: with 4 KiB pages, a part of its time is spent on looking addresses up
(measured on a virtual machine, weights read instead of mapped: decode 1.05 to 1.15, prefill 1.03 to 1.2)."""

_KEPT = (
    "CUDA_VISIBLE_DEVICES",
    "DYLD_LIBRARY_PATH",
    "GGML_BACKEND_PATH",
    "GOMP_SPINCOUNT",
    "HIP_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
    "ONEAPI_DEVICE_SELECTOR",
    "PATH",
    "PYTHONPATH",
    "ROCR_VISIBLE_DEVICES",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
)


def scrubbed(environ: Mapping[str, str]) -> dict[str, str]:
    """The little a worker inherits: how to find programs, libraries and devices; no keys, no home."""
    env = {"GOMP_SPINCOUNT": SPIN_COUNT}
    env |= {name: environ[name] for name in _KEPT if environ.get(name)}
    env |= {"HOME": tempfile.gettempdir(), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
    if site.ENABLE_USER_SITE and os.path.isdir(site.getusersitepackages()):
        env["PYTHONUSERBASE"] = site.getuserbase()
    return env
