"""The supervisor of commands: nothing that it started outlives it or its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.running import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="process groups")

PROGRAM = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(sys.argv[1], "w").write(f"{os.getpid()} {child.pid} {os.environ.get('GIVEN')} {os.environ.get('TOKEN')}")
os.rename(sys.argv[1], sys.argv[1] + ".done")
print("words of the engine", flush=True)
time.sleep(60)
"""


class Watched:
    """A supervisor with a command that has a child of its own."""

    def __init__(self, base: Path, *command: str) -> None:
        self.noted = base / "noted"
        words = list(command) or [sys.executable, "-c", PROGRAM, str(self.noted)]
        order = {"command": words, "env": {"PATH": os.environ["PATH"], "GIVEN": "yes"}, "files": {"f": "x"}}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "inhouse.engines.workers.command"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TOKEN": "secret"},
            start_new_session=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def started(self) -> list[int]:
        """Ids of the command and of its child."""
        done = Path(f"{self.noted}.done")
        until(done.exists, 10, "the command's start")
        command, child, given, token = done.read_text().split()
        assert (given, token) == ("yes", "None")
        return [int(command), int(child)]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    for pipe in (made.process.stdin, made.process.stderr):
        assert pipe is not None
        pipe.close()
    if made.process.poll() is None:
        made.process.kill()
    made.process.wait(5)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_when_the_parent_is_gone_all_are(watched: Watched) -> None:
    pids = watched.started()
    assert watched.process.stdin is not None
    watched.process.stdin.close()
    until(lambda: all(map(gone, pids)), 5, "their end")
    assert watched.process.wait(5) != 0


def test_being_told_to_stop_is_passed_on(watched: Watched) -> None:
    command, child = watched.started()
    watched.process.terminate()
    assert watched.process.wait(5) == 128 + signal.SIGTERM
    assert gone(command)
    os.kill(child, signal.SIGKILL)  # its own parent left it: the fleet kills the group


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal")
def test_a_supervisor_that_is_killed_takes_the_command_along(watched: Watched) -> None:
    command, child = watched.started()
    watched.process.kill()
    until(lambda: gone(command), 5, "its end")
    os.kill(child, signal.SIGKILL)


def ended(made: Watched) -> tuple[int, bytes]:
    """How it ended and what it said; its standard input stays open as long."""
    assert made.process.stderr is not None
    assert made.process.stdin is not None
    with made.process.stderr as said, made.process.stdin:
        words = said.read()
        return made.process.wait(10), words


def test_the_exit_code_and_the_words_are_the_commands(tmp_path: Path) -> None:
    code, said = ended(Watched(tmp_path, sys.executable, "-c", "print('no model'); raise SystemExit(7)"))
    assert code == 7
    assert b"no model" in said


def test_a_command_that_cannot_start_says_so(tmp_path: Path) -> None:
    code, said = ended(Watched(tmp_path, str(tmp_path / "nothing")))
    assert code == 1
    assert b"cannot be started" in said
