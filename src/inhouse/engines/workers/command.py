"""Worker program: supervises a server that is not ours, so that it and all it started end with us.

``python -m inhouse.engines.workers.command`` reads one line of JSON from standard input: ``command`` and
``env``, both whole, and ``files``, texts of private files whose paths stand for ``{file:NAME}`` in the
command. It runs the command in its own process group, passes SIGTERM on, ends with its exit code, and
kills the whole group when the parent is gone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from inhouse.engines.workers import guard

_PR_SET_PDEATHSIG = 1


def placed(order: dict[str, Any], folder: str) -> list[str]:
    """The command with the files of the order written into ``folder``."""
    words: list[str] = order["command"]
    for name, text in order.get("files", {}).items():
        path = os.path.join(folder, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        words = [word.replace(f"{{file:{name}}}", path) for word in words]
    return words


def supervise(command: list[str], env: dict[str, str]) -> int:
    """Run it; its exit code is the answer. Raises SystemExit when it cannot be started."""
    try:
        child = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=2,
            preexec_fn=_die_with_us(),  # noqa: PLW1509  # no thread runs yet
        )
    except OSError as error:
        raise SystemExit(f"the engine's command cannot be started: {error.strerror}") from None
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    threading.Thread(target=_until_the_parent_is_gone, args=(child,), daemon=True).start()
    return child.wait()


def _die_with_us() -> Callable[[], None] | None:
    """What a child does before it becomes the command: Linux kills it when we are killed."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _until_the_parent_is_gone(child: subprocess.Popen[bytes]) -> None:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    child.kill()
    if sys.platform != "win32" and os.getpgrp() == os.getpid():  # a group of our own: its children, too
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def main() -> None:
    """Run the command of the order."""
    order = guard.read_order()
    guard.let_others_in()
    if sys.platform != "win32":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.umask(0o077)
    with tempfile.TemporaryDirectory(prefix="inhouse-", ignore_cleanup_errors=True) as folder:
        code = supervise(placed(order, folder), order["env"])
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
