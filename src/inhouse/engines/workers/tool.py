"""Worker program: becomes (Linux) or supervises (elsewhere) a tool that computes in bulk.

``python -m inhouse.engines.workers.tool`` reads one line of JSON from standard input with the whole
``command`` and the ``folder`` to run it in. The tool's output goes to standard error, all of it; it
runs at a low priority and dies with its parent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import Any, NoReturn

from inhouse.engines.workers import guard

NICENESS = 10
"""Whoever answers a user goes first."""


def _supervise(command: list[str]) -> int:
    """Run the tool as a child; end it when our standard input ends or we are told to stop."""
    options: dict[str, Any] = {}
    if sys.platform == "win32":
        options["creationflags"] = subprocess.BELOW_NORMAL_PRIORITY_CLASS
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2, **options)

    def watch() -> None:
        while os.read(0, 4096):
            pass
        child.kill()

    signal.signal(signal.SIGTERM, lambda *_: child.kill())
    threading.Thread(target=watch, daemon=True).start()
    return child.wait()


def _become(command: list[str]) -> NoReturn:
    guard.let_others_in()
    guard.die_with_parent()  # the death signal survives exec
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.execv(command[0], command)  # noqa: S606


def main() -> None:
    """Run the tool named by the order; its exit code is ours."""
    order = guard.read_order()
    os.chdir(order["folder"])
    if sys.platform != "win32":
        os.umask(0o077)
        with contextlib.suppress(OSError):
            os.nice(NICENESS)
    if sys.platform == "linux":
        _become(order["command"])
    sys.exit(_supervise(order["command"]))


if __name__ == "__main__":
    main()
