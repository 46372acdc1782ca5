"""Worker program: becomes (Linux) or supervises (elsewhere) a tool that computes in bulk.

``python -m inhouse.engines.workers.tool`` reads one line of JSON from standard input with the whole
``command`` and the ``folder`` to run it in. The tool's output goes to standard error, all of it; it
runs at a low priority and dies with its parent, and so does all that it started.
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

_LEADER = os.getpid()


def _supervise(command: list[str]) -> int:
    """Run the tool as a child; end it when our standard input ends or we are told to stop."""
    options: dict[str, Any] = {}
    if sys.platform == "win32":
        options["creationflags"] = subprocess.BELOW_NORMAL_PRIORITY_CLASS
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2, **options)

    def watch() -> None:
        _until_end_of_input()
        _kill_group()
        child.kill()

    signal.signal(signal.SIGTERM, lambda *_: child.kill())
    threading.Thread(target=watch, daemon=True).start()
    return child.wait()


def _until_end_of_input() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass


def _kill_group() -> None:
    """End us and all below us, where we were started as a group of our own."""
    if sys.platform != "win32" and os.getpgrp() == _LEADER:
        os.killpg(_LEADER, signal.SIGKILL)


def _leave_watcher() -> None:
    """Leave a process behind that ends the whole group with our parent: the death signal is the tool's
    alone, and a compiler outlives the tool that called it. Whoever started us ends the watcher, too."""
    if first := os.fork():
        os.waitpid(first, 0)
        return
    if os.fork():  # so that it is no child of the tool, which may wait for all of its own
        os._exit(0)
    os.closerange(1, 1024)
    _until_end_of_input()
    _kill_group()
    os._exit(1)


def _become(command: list[str]) -> NoReturn:
    _leave_watcher()
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
