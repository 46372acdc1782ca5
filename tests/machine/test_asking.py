"""Programs that are missing, fail, crash, hang, babble, or leave children behind: an answer or a reason."""

from __future__ import annotations

import gc
import os
import signal
import stat
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from inhouse.machine import asking
from inhouse.machine.asking import Answer, ask, native
from support.running import until

posix = pytest.mark.skipif(sys.platform == "win32", reason="of POSIX")


def dead(state: Path) -> bool:
    """Gone, or not yet fetched by who has it for a child now."""
    text = asking.read(state)
    return not text or text.rsplit(")", 1)[1].split()[0] in ("Z", "X")


def python(code: str, timeout: float = 30.0) -> Answer:
    return ask(sys.executable, "-c", code, timeout=timeout)


def test_a_small_file_takes_little_memory_to_read(tmp_path: Path):
    path = tmp_path / "told"
    path.write_text("42\n")
    asking.read(path)
    tracemalloc.start()
    try:
        assert asking.read(path) == "42\n"
        assert tracemalloc.get_traced_memory()[1] < 4 * asking.PIECE
    finally:
        tracemalloc.stop()


def test_a_file_is_read_whole_up_to_a_ceiling(tmp_path: Path):
    path = tmp_path / "told"
    path.write_bytes(b"x" * (3 * asking.PIECE + 5))
    assert len(asking.read(path)) == 3 * asking.PIECE + 5
    path.write_bytes(b"x" * (asking.FILE_CEILING + 5))
    assert len(asking.read(path)) == asking.FILE_CEILING


def test_a_program_that_is_not_there_says_nothing_and_that_is_no_trouble():
    assert ask("no-such-program-anywhere") == Answer()


def test_an_answer_is_what_it_prints():
    assert python("print('hi')") == Answer("hi\n")


def test_a_failure_has_its_code_and_first_words():
    found = python("print('\\n--\\nNo devices \\x07were found'); raise SystemExit(6)")
    assert found == Answer("", "it failed with code 6: No devices were found", 6)
    assert python("raise SystemExit(3)").why == "it failed with code 3"


@posix
def test_a_crash_names_its_signal():
    found = python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert (found.why, found.code) == ("it crashed (SIGSEGV)", -11)


def test_one_that_hangs_is_ended():
    began = time.monotonic()
    found = python("import time; print('half', flush=True); time.sleep(600)", timeout=0.5)
    assert found == Answer("", "it did not answer within 0.5 seconds")
    assert time.monotonic() - began < 20


@posix
def test_one_that_closed_its_output_but_goes_on_is_ended():
    found = python("import os, time; os.close(1); time.sleep(600)", timeout=0.5)
    assert "did not answer" in found.why


def test_one_that_babbles_is_ended(monkeypatch):
    monkeypatch.setattr(asking, "ANSWER_CEILING", 2**16)
    assert python("while True: print('x' * 4096)").why == "it printed without end"


@posix
def test_a_grandchild_that_holds_the_pipe_is_ended_too(tmp_path):
    code = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))"
    )
    found = python(code, timeout=5.0)
    assert "did not answer" in found.why
    pid = int((tmp_path / "pid").read_text())
    if Path("/proc/self/stat").exists():
        until(lambda: dead(Path(f"/proc/{pid}/stat")))
    elif not Path("/proc/self").exists():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@posix
def test_a_grandchild_that_ran_away_with_the_pipe_leaves_its_number_to_the_reader(tmp_path, monkeypatch):
    begin, numbers, before = asking.subprocess.Popen, [], set(threading.enumerate())

    def begun(*command, **more):
        process = begin(*command, **more)
        numbers.append(process.stdout.fileno())
        return process

    monkeypatch.setattr(asking.subprocess, "Popen", begun)
    code = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
        f"start_new_session=True); open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))"
    )
    try:
        assert "did not answer" in python(code, timeout=3.0).why
        gc.collect()
        (reader,) = set(threading.enumerate()) - before
        assert stat.S_ISFIFO(os.fstat(numbers[0]).st_mode)
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    reader.join(20)
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(numbers[0])


@posix
def test_a_file_that_cannot_be_run_is_a_reason(tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_bytes(b"\x7fELF garbage")
    program.chmod(0o755)
    assert ask(str(program)).why == "it could not be started (OSError)"


def test_our_keys_do_not_reach_a_drivers_tool(monkeypatch):
    monkeypatch.setenv("INHOUSE_API_KEY", "secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/driver")
    found = python("import os; print(sorted(os.environ))").text
    assert "INHOUSE_API_KEY" not in found
    assert "LD_LIBRARY_PATH" in found
    assert "LC_ALL" in found


def test_words_of_a_tool_are_cut_short():
    assert asking.first_words("a" * 500).endswith("a…")
    assert len(asking.first_words("a" * 500)) == 160
    assert asking.first_words("\n \n") == ""


def test_small_files(tmp_path):
    assert asking.read(tmp_path / "none") == ""
    assert asking.link(tmp_path) == ""
    assert asking.folder(tmp_path / "none") == []
    assert [asking.number(text) for text in ("12\n", "-1", "x", "9" * 40)] == [12, 0, 0, 0]


def test_our_own_programs_need_nothing_of_ours():
    """They are run by path, so that a library that breaks them breaks nothing else."""
    programs = sorted(asking.NATIVES.glob("[a-z]*.py"))
    assert len(programs) == 5
    for program in programs:
        assert "from ." not in program.read_text("utf-8"), program.name
    assert native("bandwidth", "not json").code == 1
