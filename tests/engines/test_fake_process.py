"""The fake worker as a process: its start, its end, and its ties to the parent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.errors import BadRequest
from inhouse.core.requests import LoadOptions
from inhouse.engines.fake import FakeRecipe
from inhouse.engines.workers import guard

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and Unix sockets")


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ih-"))
    yield path
    shutil.rmtree(path)


Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    children: list[subprocess.Popen[bytes]] = []

    def run(address: str, secret: str = "", **options: Any) -> subprocess.Popen[bytes]:
        recipe = FakeRecipe(options)
        launch = recipe.launch(recipe.cards()[0], LoadOptions(), address=address, secret=secret)
        child = subprocess.Popen(
            launch.command,
            env=launch.env,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        children.append(child)
        assert child.stdin is not None
        child.stdin.write(launch.stdin)
        child.stdin.flush()
        return child

    yield run
    for child in children:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stderr):
            if pipe is not None:
                pipe.close()


def ask(address: str, request: bytes = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n") -> bytes:
    """One raw request, tried until the worker listens."""
    tcp = not address.startswith("/")
    deadline = time.monotonic() + 10
    while True:
        with socket.socket(socket.AF_INET if tcp else socket.AF_UNIX) as s:
            try:
                s.connect(("127.0.0.1", int(address.split(":")[1])) if tcp else address)
                s.sendall(request)
                return s.recv(65536)
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.01)


def errors(child: subprocess.Popen[bytes]) -> str:
    assert child.stderr is not None
    return child.stderr.read().decode()


def test_it_serves_on_a_private_socket_and_ends_on_sigterm(folder: Path, start: Start) -> None:
    address = str(folder / "a.sock")
    child = start(address)
    assert b"200 OK" in ask(address)
    assert os.stat(address).st_mode & 0o077 == 0
    child.terminate()
    assert child.wait(5) == 0


def test_a_stale_socket_is_no_obstacle(folder: Path, start: Start) -> None:
    address = str(folder / "a.sock")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(address)
    start(address)
    assert b"200 OK" in ask(address)


def test_over_tcp_it_wants_its_secret(start: Start) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    start(address, "s3cret")
    assert b"200 OK" in ask(address)
    assert b"401" in ask(address, b"GET /props HTTP/1.1\r\nhost: x\r\n\r\n")
    right = b"GET /props HTTP/1.1\r\nhost: x\r\nauthorization: Bearer s3cret\r\n\r\n"
    assert b"200 OK" in ask(address, right)


def test_it_ends_when_its_standard_input_does(folder: Path, start: Start) -> None:
    address = str(folder / "a.sock")
    child = start(address)
    ask(address)
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(5) == 1


def test_it_can_crash_at_start_with_a_message(folder: Path, start: Start) -> None:
    child = start(str(folder / "a.sock"), crash_at_start="no such tensor")
    assert child.wait(10) == 1
    assert errors(child).strip() == "no such tensor"


def test_it_can_ignore_sigterm(folder: Path, start: Start) -> None:
    address = str(folder / "a.sock")
    child = start(address, ignore_sigterm=True)
    ask(address)
    child.send_signal(signal.SIGTERM)
    assert b"200 OK" in ask(address)
    assert child.poll() is None


@pytest.mark.parametrize(
    "line, words",
    [
        (b"", "one line of JSON"),
        (b"nonsense\n", "one line of JSON"),
        (b"[]\n", "must be a JSON object"),
        (b'{"address": "x", "no_such": 1}\n', "no_such"),
        (b'{"tokens": 1}\n', "address"),
    ],
)
def test_an_order_that_cannot_be_read_ends_it_with_a_reason(line: bytes, words: str) -> None:
    command = [sys.executable, "-m", "inhouse.engines.workers.fake"]
    done = subprocess.run(command, input=line, capture_output=True, timeout=20, check=False)
    assert done.returncode == 1
    assert words in done.stderr.decode()


def test_an_order_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard.os, "read", lambda fd, count: b"x" * 2**19)
    with pytest.raises(SystemExit, match="too long"):
        guard.read_order()


# the recipe


def test_the_recipe_brings_its_models_along() -> None:
    cards = {str(card.name): card for card in FakeRecipe({}).cards()}
    assert set(cards) == {"fake:latest", "fake-b:latest", "fake-embed:latest", "fake-rerank:latest"}
    assert cards["fake-rerank:latest"].capabilities == {"rerank"}
    assert cards["fake-embed:latest"].capabilities == {"embedding"}
    assert "chat" in cards["fake:latest"].capabilities
    assert len({card.digest for card in cards.values()}) == 4


def test_a_launch_follows_card_options_and_wish() -> None:
    recipe = FakeRecipe({"slots": 2, "memory": 7, "cards": {"fake-b:latest": {"slots": 5, "memory": 9}}})
    one, other, *_ = recipe.cards()
    launch = recipe.launch(one, LoadOptions(context_length=512), address="/x.sock", secret="s")
    assert (launch.slots, launch.context_length, launch.memory) == (2, 512, 7)
    order = json.loads(launch.stdin)
    assert (order["slots"], order["context_length"], order["secret"]) == (2, 512, "s")
    assert launch.stdin.endswith(b"\n")
    special = recipe.launch(other, LoadOptions(), address="/x.sock", secret="")
    assert (special.slots, special.memory) == (5, 9)


def test_the_memory_of_a_launch_grows_with_its_context() -> None:
    recipe = FakeRecipe({})
    card = recipe.cards()[0]
    small, large = (
        recipe.launch(card, LoadOptions(context_length=n), address="/x", secret="") for n in (1024, 10**9)
    )
    assert card.footprint.weights < small.memory < large.memory
    assert large.context_length == card.context_length


def test_the_environment_of_a_launch_is_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INHOUSE_API_KEY", "secret")
    recipe = FakeRecipe({})
    assert (
        "secret" not in recipe.launch(recipe.cards()[0], LoadOptions(), address="/x", secret="").env.values()
    )


class Section:
    """As much of the engine's configuration as the recipe reads."""

    kind, llama_server, kv_cache_type, threads = "fake", "", "f16", 0

    def __init__(self, fake: str, context_length: int = 0, slots: int = 0) -> None:
        self.fake, self.context_length, self.slots = fake, context_length, slots


def test_settings_are_understood() -> None:
    recipe = FakeRecipe(Section('{"slots": 3}', context_length=99, slots=1))
    launch = recipe.launch(recipe.cards()[0], LoadOptions(), address="/x", secret="")
    assert (launch.slots, launch.context_length) == (3, 99)


@pytest.mark.parametrize(
    "fake", ["nonsense", "[]", '{"no_such": 1}', '{"cards": {"fake:latest": {"bad": 1}}}']
)
def test_wrong_settings_are_refused(fake: str) -> None:
    with pytest.raises(BadRequest):
        FakeRecipe(Section(fake))
