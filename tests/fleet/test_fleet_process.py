"""One child process: output, rotation, last words, watchdog."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest

from inhouse.core.engine import Launch
from inhouse.core.errors import LoadFailed
from inhouse.fleet import output
from inhouse.fleet.output import Output, last_words
from inhouse.fleet.process import Process
from inhouse.fleet.watch import until_hung


def launch(code: str, **more: object) -> Launch:
    command = (sys.executable, "-S", "-c", code)
    return Launch("test", command, "/nowhere/x.sock", **more)  # type: ignore[arg-type]


async def never() -> bool:
    return False


async def always() -> bool:
    return True


async def test_the_child_gets_its_environment_and_nothing_else_and_a_neutral_place() -> None:
    code = "import os; print(sorted(os.environ), os.getcwd(), os.getpgid(0) == os.getpid())"
    process = Process(launch(code, env={"ONLY": "this"}))
    with pytest.raises(LoadFailed):
        await process.start(never, 10)
    words = process.tail().split("]")
    assert "ONLY" in words[0]
    assert "HOME" not in words[0]
    assert words[1].split() == [os.path.abspath(os.sep), "True"]


async def test_the_child_inherits_no_descriptor_but_its_three(tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        process = Process(launch(f"import os; os.fstat({file.fileno()})"))
        with pytest.raises(LoadFailed, match="exit code 1"):
            await process.start(never, 10)
    assert "Bad file descriptor" in process.tail()


async def test_standard_input_brings_the_order_and_stays_open() -> None:
    code = "import sys; print(sys.stdin.readline(), flush=True); print('end', sys.stdin.read(), flush=True)"
    process = Process(launch(code, stdin=b"order\n"))

    async def told() -> bool:
        return "order" in process.tail()

    await process.start(told, 10)
    assert process.running
    assert "end" not in process.tail()
    process.kill()
    await process.wait()
    assert not process.running
    assert process.returncode == -9
    assert process.obituary() == "its process was killed (SIGKILL)"


async def test_both_outputs_are_kept_and_read_to_the_end() -> None:
    code = "import sys; print('x' * 300000); print('out', flush=True); print('oops', file=sys.stderr); sys.exit(7)"
    process = Process(launch(code))
    with pytest.raises(LoadFailed, match="exit code 7") as caught:
        await process.start(never, 10)
    assert process.tail().endswith("out\noops\n")
    assert len(process.tail()) <= output.TAIL
    assert caught.value.hint == "oops"


async def test_an_end_is_noticed_at_once_even_while_a_probe_hangs() -> None:
    async def hanging() -> bool:
        await asyncio.sleep(60)
        return False

    process = Process(launch("raise SystemExit('enough')"))
    async with asyncio.timeout(10):
        with pytest.raises(LoadFailed, match="exit code 1"):
            await process.start(hanging, 60)


async def test_a_cancelled_start_leaves_no_child() -> None:
    process = Process(launch("import time; time.sleep(60)"))
    task = asyncio.create_task(process.start(never, 60))
    while process.pid is None:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await process.wait()
    assert process.returncode == -9


async def test_a_child_that_is_not_wanted_any_more_dies_as_it_is_born() -> None:
    process = Process(launch("import time; time.sleep(60)"))
    process.kill()
    with pytest.raises(LoadFailed, match="SIGKILL"):
        await process.start(never, 60)


async def test_a_silent_death_says_so() -> None:
    process = Process(launch("raise SystemExit(4)"))
    with pytest.raises(LoadFailed) as caught:
        await process.start(never, 10)
    assert caught.value.hint == "The worker printed nothing."


async def test_grandchildren_are_killed_with_the_child() -> None:
    code = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)']);"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    process = Process(launch(code))

    async def told() -> bool:
        return bool(process.tail().strip())

    await process.start(told, 10)
    grandchild = int(process.tail())
    process.kill()
    await process.wait()

    def status() -> str:
        try:
            return Path(f"/proc/{grandchild}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return "gone"

    if sys.platform == "linux":
        async with asyncio.timeout(5):
            while status() not in ("gone", "Z"):
                await asyncio.sleep(0.01)


async def test_waiting_for_what_never_started_returns() -> None:
    process = Process(launch(""))
    await process.wait()
    process.stop(1)
    assert process.pid is None
    assert process.returncode is None


# output


def test_the_log_is_private_and_rotates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "ROTATE", 100)
    path = tmp_path / "logs" / "a.log"
    out = Output(path)
    for letter in b"abc":
        out.feed(bytes([letter]) * 60)
    out.close()
    assert path.read_bytes() == b"c" * 60
    assert path.with_name("a.log.1").read_bytes() == b"b" * 60
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert out.tail() == "a" * 60 + "b" * 60 + "c" * 60


def test_the_log_goes_on_where_an_earlier_worker_left_it(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    for text in (b"one\n", b"two\n"):
        out = Output(path)
        out.feed(text)
        out.close()
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_disk_that_refuses_costs_only_the_log(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    out = Output(tmp_path / "file" / "a.log")
    out.feed(b"still here")
    out.feed(b"!")
    assert out.tail() == "still here!"


@pytest.mark.parametrize(
    "tail, words",
    [
        ("", ""),
        ("\n \n", ""),
        ("loading\nerror: no such tensor\ncleaning up\n", "error: no such tensor"),
        ("one\ntwo\n", "two"),
        ("\x1b[31mfailed\x1b[0m to load\r\n", "failed to load"),
        ("error: cannot open '/home/me/a b/x.gguf'", "error: cannot open 'x.gguf'"),
        (r"error: C:\Users\me\x.gguf: invalid", "error: x.gguf: invalid"),
        ("12 tokens/s and/or failed", "12 tokens/s and/or failed"),
        ("error " + "x" * 500, "error " + "x" * 194),
    ],
)
def test_last_words(tail: str, words: str) -> None:
    assert last_words(tail) == words


# watchdog


async def test_a_worker_that_answers_now_and_then_is_not_hung() -> None:
    answers = iter([False, False, True] * 4)
    asked = 0

    async def healthy(timeout: float) -> bool:
        nonlocal asked
        asked += 1
        try:
            return next(answers)
        except StopIteration:
            task.cancel()
            return True

    task = asyncio.create_task(until_hung(healthy, 0.05))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asked == 13


async def test_a_worker_that_never_answers_is_hung_after_the_time_out() -> None:
    clock = asyncio.get_running_loop().time
    began = clock()

    async def healthy(timeout: float) -> bool:
        return False

    await until_hung(healthy, 0.1)
    assert clock() - began >= 0.1
