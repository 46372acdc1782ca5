"""A disk that does not answer holds up those who need to read it, and nobody else."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from support.running import Server, fake, until

SERVE = """
import pathlib, sys, time
from inhouse.cli.main import main
from inhouse.store.records import Records
stuck, seen = pathlib.Path(sys.argv[1], "stuck"), pathlib.Path(sys.argv[1], "seen")
read = Records.cards
def cards(self):
    while stuck.exists():
        seen.touch()
        time.sleep(0.02)
    return read(self)
Records.cards = cards
sys.exit(main(["serve"]))
"""


def seconds(server: Server, path: str) -> float:
    began = time.monotonic()
    answer = server.ask("GET", path) if path == "/health" else server.chat(fake(tokens=2))
    assert answer.status == 200
    return time.monotonic() - began


def test_health_and_chat_stay_quick_while_the_store_cannot_be_read(tmp_path: Path) -> None:
    server = Server(
        tmp_path / "home", {"INHOUSE_ENGINE": "fake"}, [sys.executable, "-c", SERVE, str(tmp_path)]
    )
    server.start()
    try:
        seconds(server, "chat")
        (tmp_path / "stuck").touch()
        until(lambda: seconds(server, "chat") and (tmp_path / "seen").exists(), 20, "a look at the store")
        slowest = max(seconds(server, path) for path in ("/health", "chat") * 20)
        (tmp_path / "stuck").unlink()
        assert slowest < 5
    finally:
        (tmp_path / "stuck").unlink(missing_ok=True)
        server.stop()
