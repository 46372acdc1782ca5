"""Worker program: becomes (Linux) or supervises (elsewhere) a native llama-server.

``python -m inhouse.engines.workers.native`` reads one line of JSON from standard input with the
whole ``command``, the ``secret`` of a TCP worker and the model's own chat ``template`` (or ""), and
dies with its parent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator

from inhouse.engines.workers import guard

TEMPLATE_FLAG = "--chat-template-file"


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


def in_memory(template: str) -> list[str]:
    """Flags that name a template kept in a memory file (Linux), which vanishes with the process."""
    if not template:
        return []
    handle = os.memfd_create("chat-template.jinja", 0)  # no MFD_CLOEXEC: it lives on in llama-server
    with os.fdopen(os.dup(handle), "w", encoding="utf-8") as file:
        file.write(template)
    return [TEMPLATE_FLAG, f"/proc/self/fd/{handle}"]


@contextlib.contextmanager
def on_disk(template: str) -> Iterator[list[str]]:
    """Flags that name a template in a private folder, removed afterwards."""
    if not template:
        yield []
        return
    with tempfile.TemporaryDirectory(prefix="inhouse-", ignore_cleanup_errors=True) as folder:
        path = os.path.join(folder, "chat-template.jinja")
        with open(path, "w", encoding="utf-8") as file:
            file.write(template)
        yield [TEMPLATE_FLAG, path]


def main() -> None:
    """Start the server named by the order; its exit code is ours."""
    order = guard.read_order()
    command: list[str] = order["command"]
    env = dict(os.environ)
    if order["secret"]:
        env["LLAMA_API_KEY"] = order["secret"]
    if sys.platform != "linux":
        with on_disk(order["template"]) as flags:
            code = _supervise([*command, *flags], env)
        sys.exit(code)
    command = [*command, *in_memory(order["template"])]
    guard.let_others_in()
    guard.die_with_parent()  # the death signal survives exec
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o177)
    os.dup2(2, 1)
    os.execve(command[0], command, env)  # noqa: S606


if __name__ == "__main__":
    main()
