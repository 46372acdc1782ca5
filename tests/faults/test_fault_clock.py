"""The clock on the wall jumps by a day: row 47. Timers do not notice, dates tell the new time."""

from __future__ import annotations

import ast
import contextlib
import email.utils
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support.running import Server, fake, serving, until
from support.shim import Shim, possible

SRC = Path(__file__).parents[2] / "src" / "inhouse"
DAY = 86_400


@pytest.fixture
def shimmed(tmp_path: Path) -> Iterator[tuple[Server, Shim]]:
    shim = Shim(tmp_path / "shim")
    env = {
        "INHOUSE_ENGINE": "fake",
        "INHOUSE_KEEP_ALIVE": "3s",
        "INHOUSE_SLOTS": "1",
        **shim.env(tmp_path / "home"),
    }
    with serving(tmp_path / "home", **env) as server:
        yield server, shim


def off_by(server: Server) -> float:
    """How far the server's clock is from ours."""
    shown = server.ask("GET", "/health").headers["date"]
    return email.utils.parsedate_to_datetime(shown).timestamp() - time.time()


@pytest.mark.skipif(not possible(), reason="needs Linux and a C compiler")
@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["forward", "back"])
def test_a_jump_unloads_nothing_refuses_nobody_and_stops_nothing(
    shimmed: tuple[Server, Shim], jump: int
) -> None:
    server, shim = shimmed
    server.chat(fake(tokens=1))
    worker = server.worker()
    answers: list[Any] = []
    running = threading.Thread(
        target=lambda: answers.append(server.chat(fake(tokens=30, rate=30), stream=True))
    )
    running.start()
    until(lambda: server.busy() == 1)
    waiting = threading.Thread(target=lambda: answers.append(server.chat(fake(tokens=1))))
    waiting.start()
    until(lambda: server.loaded()[0]["waiting"] == 1)
    shim.clock(jump)
    until(lambda: abs(off_by(server) - jump) < 5, 5, "the server's new date")
    running.join(20)
    waiting.join(20)
    assert [answer.status for answer in answers] == [200, 200]
    assert server.worker() == worker, "the same worker all along"
    ends = datetime.fromisoformat(server.loaded()[0]["expires_at"])
    assert -1 < (ends - datetime.now(UTC)).total_seconds() - jump < 4, "what is shown follows the new date"
    until(lambda: not server.loaded(), 8, "the end of its keep-alive, in real seconds")
    times = [one["time"] for one in server.ask("GET", "/api/events").json["events"]]
    numbers = [one["number"] for one in server.ask("GET", "/api/events").json["events"]]
    assert numbers == sorted(numbers)
    assert times
    assert server.chat(fake(text="fine")).json["choices"][0]["message"]["content"] == "fine"


def calls(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.lineno, f"{node.value.id}.{node.attr}"


@pytest.mark.parametrize("room", ["fleet", "upstream", "runtime.py", "server", "journal"])
def test_nothing_that_waits_reads_the_clock_on_the_wall(room: str) -> None:
    """A date may be shown or written down; whoever measures or waits uses a monotonic clock."""
    dates = {
        "server/kept", "server/manage",
        "upstream/shelf.py", "upstream/desk.py", "upstream/keeper.py", "journal/journal.py", "journal/book.py",
    }  # fmt: skip
    files = [SRC / room] if room.endswith(".py") else sorted((SRC / room).rglob("*.py"))
    assert files
    wrong = []
    for path in files:
        where = path.relative_to(SRC).as_posix()
        if not any(where.startswith(known) for known in dates):
            wrong += [
                f"{where}:{line}"
                for line, call in calls(path)
                if call in ("time.time", "datetime.now", "datetime.utcnow")
            ]
    assert not wrong
    with contextlib.suppress(StopIteration):
        assert next(iter(calls(SRC / "runtime.py")))
