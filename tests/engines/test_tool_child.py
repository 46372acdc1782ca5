"""A tool as a supervised child: its lines come through, and it never outlives who asked for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from inhouse.core.errors import Cancelled, LoadFailed, NoSpace
from inhouse.engines import tool
from inhouse.engines.child import scrubbed
from inhouse.engines.tool import Command, Ended
from inhouse.engines.workers import guard
from inhouse.engines.workers import tool as worker

posix = pytest.mark.skipif(sys.platform == "win32", reason="looks at POSIX processes")


def python(code: str, folder: Path) -> Command:
    env = scrubbed({**os.environ, "SECRET_TOKEN": "hush"})
    return Command([sys.executable, "-c", code], env, folder)


def never() -> bool:
    return False


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        try:
            os.kill(pid, 0)
        except OSError:
            return True
        return sys.platform == "linux"


def wait_gone(pid: int) -> None:
    deadline = time.monotonic() + 5
    while not gone(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_lines_of_both_streams_and_the_exit_code_come_through(tmp_path: Path) -> None:
    code = "import sys; print('out', flush=True); sys.stderr.write('a\\rb\\n' + 'x' * 5000 + '\\nlast'); sys.exit(3)"
    heard: list[str] = []
    ended = tool.run(python(code, tmp_path), heard.append, never)
    assert ended.code == 3
    assert [line[:4] for line in heard] == ["out", "a", "b", "xxxx", "last"]
    assert len(heard[3]) == tool.LONGEST_LINE
    assert ended.said("las")
    assert not ended.said("nothing")
    assert ended.log().endswith("last")


def test_a_tool_runs_in_its_folder_at_low_priority_without_our_keys(tmp_path: Path) -> None:
    code = (
        "import os, sys; print(os.path.realpath(os.getcwd())); print('SECRET_TOKEN' in os.environ);"
        "print(os.getpriority(os.PRIO_PROCESS, 0) if hasattr(os, 'getpriority') else 99); print(sys.stdin.read())"
    )
    heard: list[str] = []
    assert tool.run(python(code, tmp_path), heard.append, never).code == 0
    assert heard[0] == os.path.realpath(tmp_path)
    assert heard[1] == "False"
    assert int(heard[2]) > 0


@posix
def test_a_cancel_kills_the_tool_and_its_children_within_a_second(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, os, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(os.getpid(), child.pid, flush=True); time.sleep(60)"
    )
    heard: list[str] = []
    began: list[float] = []

    def stopped() -> bool:
        if heard:
            began.append(time.monotonic())
        return bool(heard)

    with pytest.raises(Cancelled):
        tool.run(python(code, tmp_path), heard.append, stopped)
    assert time.monotonic() - began[0] < 1
    for pid in heard[0].split():
        wait_gone(int(pid))


@posix
def test_an_error_of_the_listener_ends_the_tool(tmp_path: Path) -> None:
    pids: list[int] = []

    def heard(line: str) -> None:
        pids.append(int(line))
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        tool.run(
            python("import os, time; print(os.getpid(), flush=True); time.sleep(60)", tmp_path), heard, never
        )
    wait_gone(pids[0])


@posix
def test_a_tool_ends_with_whoever_started_it() -> None:
    sleeper = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
    order = json.dumps({"command": sleeper, "folder": "/"})
    middle_code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'inhouse.engines.workers.tool'], stdin=subprocess.PIPE)\n"
        "child.stdin.write(sys.argv[1].encode() + b'\\n'); child.stdin.flush(); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", middle_code, order], stderr=subprocess.PIPE) as middle:
        assert middle.stderr is not None
        pid = int(middle.stderr.readline())
        middle.kill()
        wait_gone(pid)


@posix
def test_what_a_tool_left_behind_does_not_keep_us_waiting(tmp_path: Path) -> None:
    """A compiler's server, say, that goes on with our end of the pipe in its hands."""
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True); sys.exit(4)"
    )
    heard: list[str] = []
    began = time.monotonic()
    assert tool.run(python(code, tmp_path), heard.append, never).code == 4
    assert time.monotonic() - began < 30
    wait_gone(int(heard[0]))


@posix
def test_what_a_tool_started_ends_when_we_are_killed(tmp_path: Path) -> None:
    """A compiler below make below CMake must not go on when the server is gone."""
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    middle_code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from inhouse.engines.tool import Command, run\n"
        "command = Command([sys.executable, '-c', sys.argv[1]], {}, Path(sys.argv[2]))\n"
        "run(command, lambda line: print(line, flush=True), lambda: False)\n"
    )
    argv = [sys.executable, "-c", middle_code, code, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as middle:
        assert middle.stdout is not None
        pid = int(middle.stdout.readline())
        middle.kill()
        wait_gone(pid)


def test_a_tool_that_does_not_exist_ends_with_a_code(tmp_path: Path) -> None:
    ended = tool.run(Command([str(tmp_path / "none")], scrubbed(os.environ), tmp_path), lambda _: None, never)
    assert ended.code != 0


def test_a_worker_that_cannot_start_is_a_failed_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(LoadFailed):
        tool.run(Command(["x"], {}, tmp_path), lambda _: None, never)


def test_elsewhere_the_tool_is_a_child_whose_exit_code_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    order = {"command": [sys.executable, "-c", "import sys; sys.exit(5)"], "folder": os.getcwd()}
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(guard, "read_order", lambda: order)
    monkeypatch.setattr(worker.os, "nice", lambda _: 0)
    monkeypatch.setattr(worker.os, "umask", lambda _: 0)
    monkeypatch.setattr(worker.os, "chdir", lambda _: None)
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    # the worker's own name only: other threads of this process go on making threads
    monkeypatch.setattr(
        worker, "threading", SimpleNamespace(Thread=lambda **_: SimpleNamespace(start=lambda: None))
    )
    with pytest.raises(SystemExit) as caught:
        worker.main()
    assert caught.value.code == 5


def test_a_result_is_whole_or_gone(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with tool.whole_or_gone(path):
        path.write_text("whole")
    assert path.exists()
    with pytest.raises(RuntimeError), tool.whole_or_gone(path):
        raise RuntimeError
    assert not path.exists()


def test_a_full_disk_is_said_before_and_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.need_room(tmp_path / "x", 1)
    with pytest.raises(NoSpace) as caught:
        tool.need_room(tmp_path / "x", 2**60)
    assert "MiB" in caught.value.message
    assert tool.full(tmp_path / "x", "working", Ended(1, ("?",))) is None
    assert tool.full(tmp_path / "x", "working", Ended(1, ("OSError: No space left on device",)))
    monkeypatch.setattr(tool, "_free", lambda _: 100)
    found = tool.full(tmp_path / "x", "working", Ended(1, ("iostream error",)))
    assert found is not None
    assert "working stopped" in found.message
    assert found.detail == "iostream error"


def test_an_unknown_disk_is_no_reason_to_stop(tmp_path: Path) -> None:
    tool.need_room(tmp_path / "no" / "folder" / "x", 2**60)
    assert tool.full(tmp_path / "no" / "folder" / "x", "working", Ended(1, ())) is None
