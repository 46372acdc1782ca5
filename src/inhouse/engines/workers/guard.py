"""What every worker program does first: read its orders, and tie its life to its parent's.

Two ropes, because neither holds everywhere. On Linux the kernel sends SIGKILL when the thread that
started us ends (``prctl(2)``, PR_SET_PDEATHSIG). Everywhere the parent keeps our standard input
open for as long as it lives, so its end means that the parent is gone. Standard library only: this
runs before anything heavy is imported.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
from typing import Any

_PR_SET_PDEATHSIG = 1
_LONGEST_ORDER = 1 << 20


def read_order() -> dict[str, Any]:
    """The one line of JSON on standard input that tells a worker what to do.

    Reads bytes without a buffer, so that nothing of what follows is swallowed. Raises SystemExit.
    """
    data = bytearray()
    while not data.endswith(b"\n"):
        chunk = os.read(0, 1)
        if not chunk:
            break
        data += chunk
        if len(data) > _LONGEST_ORDER:
            raise SystemExit("the order on standard input is too long")
    try:
        order = json.loads(data)
    except ValueError:
        raise SystemExit("standard input must begin with one line of JSON") from None
    if not isinstance(order, dict):
        raise SystemExit("the order on standard input must be a JSON object")
    return order


def die_with_parent() -> None:
    """From now on this process ends, at once and without cleaning up, when its parent does."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the kernel knew
            os._exit(1)
    threading.Thread(target=_until_end_of_input, name="parent-watch", daemon=True).start()


def limit_memory(limit: int) -> None:
    """Let this process have at most ``limit`` bytes of memory of its own (mapped files not counted);
    0 is no limit. Linux only (``setrlimit(2)``, RLIMIT_DATA): elsewhere it does not count mappings.

    A chat template is a program by a stranger, which the engine runs: it must not take the machine.
    """
    if sys.platform == "linux" and limit > 0:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def let_others_in() -> None:
    """Tell the kernel that this process computes in bulk, so that whoever wakes up goes first.

    Without it the control plane waits for a core behind the engine's threads, for milliseconds a
    token. Linux only (``sched(7)``, SCHED_BATCH); threads and programs started later inherit it.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _until_end_of_input() -> None:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    os._exit(1)
