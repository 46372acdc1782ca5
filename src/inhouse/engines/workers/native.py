"""Worker program: becomes (Linux) or supervises (elsewhere) a native llama-server.

``python -m inhouse.engines.workers.native`` reads one line of JSON from standard input with the
whole ``command`` and the ``secret`` of a TCP worker, and dies with its parent.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

from inhouse.engines.workers import guard


def _supervise(command: list[str], env: dict[str, str]) -> int:
    """Run the server as a child; end it when our standard input ends or we are told to stop."""
    child = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=2)

    def watch() -> None:
        while os.read(0, 4096):
            pass
        child.kill()

    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    threading.Thread(target=watch, daemon=True).start()
    return child.wait()


def main() -> None:
    """Start the server named by the order; its exit code is ours."""
    order = guard.read_order()
    env = dict(os.environ)
    if order["secret"]:
        env["LLAMA_API_KEY"] = order["secret"]
    if sys.platform != "linux":
        sys.exit(_supervise(order["command"], env))
    guard.let_others_in()
    guard.die_with_parent()  # the death signal survives exec
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o177)
    os.dup2(2, 1)
    os.execve(order["command"][0], order["command"], env)  # noqa: S606


if __name__ == "__main__":
    main()
