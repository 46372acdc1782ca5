"""The real program as a process: streams, pipes, signals, terminals, start-up."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.scripted import CARD, Api, says

COMMAND = [sys.executable, "-m", "inhouse"]
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


def run(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 60} | options
    return subprocess.run([*COMMAND, *args], check=False, **options)


def test_the_version_needs_nothing_but_the_interpreter(home: Path) -> None:
    # Coverage of subprocesses would import modules of its own.
    env = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    result = run("--version", env={**env, "PYTHONPROFILEIMPORTTIME": "1"})
    assert result.stdout == "inhouse 0.1.0\n"
    imported = set(re.findall(r"\| +([\w.]+)$", result.stderr, re.MULTILINE))
    assert "inhouse.cli.main" in imported
    heavy = {"click", "inhouse.config", "http.client", "rich", "prompt_toolkit", "asyncio", "dataclasses"}
    assert not imported & heavy


@pytest.mark.parametrize("words", [["list"], ["run", "tiny", "Hi"], ["ps", "--json"]])
def test_plain_commands_import_no_terminal_library_and_no_server(api: Api, words: list[str]) -> None:
    result = run(*words, env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"})
    assert result.returncode == 0
    imported = set(re.findall(r"\| +([\w.]+)$", result.stderr, re.MULTILINE))
    assert "inhouse.cli.client" in imported
    for name in ("rich", "prompt_toolkit", "asyncio", "inhouse.compose", "inhouse.server", "msgspec"):
        assert name not in imported


def test_data_and_notes_go_their_own_ways(api: Api) -> None:
    result = run("run", "tiny", "Hi", "--stats", input="Text", stdin=None)
    assert result.stdout == "Hello.\n"
    assert result.stderr.startswith("12 prompt tokens, 30 tokens, TTFT ")
    assert "\x1b" not in result.stderr
    assert api.bodies("/api/chat")[0]["messages"][0]["content"] == "Text\n\nHi"


@posix
def test_a_reader_that_leaves_is_no_noise(api: Api) -> None:
    api.routes["/api/tags"] = {"models": [CARD] * 5000}
    # Unbuffered, Python drops the rest of a short write and never learns of the broken pipe.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    child = subprocess.Popen(
        [*COMMAND, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.read(10)
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait(30) == 141


@posix
def test_a_reader_that_leaves_mid_answer_stops_the_generation(api: Api) -> None:
    api.routes["/api/chat"] = [{"message": {"content": "x\n" * 50}} for _ in range(5000)] + [...]
    child = subprocess.Popen([*COMMAND, "run", "tiny", "Hi"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.readline()
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait(30) == 141


@posix
def test_a_closed_output_is_no_noise(api: Api) -> None:
    script = f"{sys.executable} -m inhouse list >&-; echo code $? >&2"
    result = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert result.stderr == "code 0\n"


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error(api: Api) -> None:
    with open("/dev/full", "w") as full:
        result = run("list", stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: the output could not be written\n")
    assert "Traceback" not in result.stderr


def test_a_narrow_encoding_is_no_error(api: Api) -> None:
    api.routes["/api/chat"] = says("naïve 日本 \ud800")
    result = run("run", "tiny", "Hi", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (result.returncode, result.stdout) == (0, "na?ve ?? ?\n")


@posix
def test_ctrl_c_stops_a_one_shot_and_its_generation(api: Api) -> None:
    api.routes["/api/chat"] = [{"message": {"content": "Once"}}, ...]
    child = subprocess.Popen(
        [*COMMAND, "run", "tiny", "Hi"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert api.waiting.wait(30)
    assert child.stdout is not None
    assert child.stdout.read(4) == b"Once"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert api.left.wait(10)
    assert (child.returncode, out, err) == (130, b"\n", b"")


class Terminal:
    """The program behind a pseudo-terminal that is its controlling one."""

    def __init__(self, *args: str, **environment: str) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        take = (
            "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
            "os.execv(sys.executable, [sys.executable, '-m', 'inhouse', *sys.argv[1:]])"
        )
        environment = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **environment}
        self.child = subprocess.Popen(
            [sys.executable, "-c", take, *args],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        os.close(slave)
        self.text = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, text: str, seconds: float = 30.0) -> str:
        """Read until ``text`` has come; give what came before it and forget both."""
        deadline = time.monotonic() + seconds
        while text not in self.text:
            ready = select.select([self.master], [], [], max(deadline - time.monotonic(), 0))[0]
            assert ready, f"no {text!r} in {self.text!r}"
            try:
                more = os.read(self.master, 65536)
            except OSError:  # Linux says EIO when the other side has closed
                more = b""
            assert more, f"the program ended without {text!r}: {self.text!r}"
            self.text += more.decode("utf-8", "replace")
        before, _, self.text = self.text.partition(text)
        return before

    def close(self) -> int:
        """The exit code, of a program that ends by itself."""
        with contextlib.suppress(OSError):
            while select.select([self.master], [], [], 30)[0] and os.read(self.master, 65536):
                pass
        code = self.child.wait(30)
        os.close(self.master)
        return code


@pytest.fixture
def terminal(home: Path) -> Iterator[Any]:
    if sys.platform == "win32":
        pytest.skip("needs a pseudo-terminal")
    opened: list[Terminal] = []

    def start(*args: str, **environment: str) -> Terminal:
        opened.append(Terminal(*args, **environment))
        return opened[-1]

    yield start
    for one in opened:
        if one.child.poll() is None:
            one.child.kill()
            one.child.wait()
            os.close(one.master)


def test_a_conversation_at_a_terminal(api: Api, terminal: Any, home: Path) -> None:
    window = terminal("run", "tiny")
    window.expect(">>> ")
    window.type("One\r")
    window.expect("Hello.")
    window.expect(">>> ")
    window.type('"""a\r')
    window.expect("... ")
    window.type('b"""\r')
    window.expect("Hello.")
    window.expect(">>> ")
    window.type("/what\r")
    window.expect("Unknown command '/what'. Type /? for help.")
    window.expect(">>> ")
    window.type("\x04")
    assert window.close() == 0
    assert [b["messages"][-1]["content"] for b in api.bodies("/api/chat")[1:]] == ["One", "a\nb"]
    assert "+One" in (home / "history").read_text()


def test_ctrl_c_stops_the_answer_and_not_the_conversation(api: Api, terminal: Any) -> None:
    answers = iter([says(), [{"message": {"content": "Once upon"}}, ...], says("The end.")])
    api.routes["/api/chat"] = lambda _: next(answers)
    window = terminal("run", "tiny")
    window.expect(">>> ")
    window.type("Tell\r")
    window.expect("Once upon")
    assert api.waiting.wait(10)
    window.type("\x03")
    assert api.left.wait(10), "the server hears of it"
    window.expect(">>> ")
    window.type("\x03")
    window.expect("Use Ctrl-D or /bye to leave.")
    window.expect(">>> ")
    window.type("Go on\r")
    window.expect("The end.")
    window.expect(">>> ")
    window.type("/bye\r")
    assert window.close() == 0
    assert [m["content"] for m in api.bodies("/api/chat")[-1]["messages"]] == ["Tell", "Once upon", "Go on"]


def test_a_terminal_wraps_words_and_greys_thinking(api: Api, terminal: Any) -> None:
    api.routes["/api/chat"] = says("word " * 15, "breakable", thinking="Hm.")
    window = terminal("run", "tiny", "Hi")
    window.expect("\x1b[90mThinking...\x1b[0m")
    window.expect("...done thinking.")
    window.expect("word brea\x1b[4D\x1b[K\r\nbreakable\r\n")
    assert window.close() == 0


def test_a_pull_at_a_terminal_shows_bars(api: Api, terminal: Any) -> None:
    blob = {"status": "pulling 0123456789ab", "digest": "sha256:0123", "total": 2_000_000}
    api.routes["/api/pull"] = [
        {"status": "pulling manifest"},
        blob | {"completed": 1_000_000},
        blob | {"completed": 2_000_000},
        {"status": "success"},
    ]
    window = terminal("pull", "tiny")
    window.expect("pulling manifest")
    window.expect("2.0/2.0 MB")
    assert window.close() == 0


def test_a_pipe_in_front_of_a_terminal_is_read(api: Api, home: Path) -> None:
    result = run("run", "tiny", input="", stdin=None)
    assert (result.returncode, result.stderr.splitlines()[0]) == (
        2,
        "Error: there is no prompt: nothing was piped in",
    )
