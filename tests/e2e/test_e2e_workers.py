"""Workers that die, hang or never start, and a server that is killed: rows 42 to 46."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from inhouse.store import Store
from support.pulls import MODEL, put
from support.running import Server, fake, serving, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return True
    return False


def ask_in_background(server: Server, text: str, **more: Any) -> tuple[threading.Thread, list[Any]]:
    out: list[Any] = []
    thread = threading.Thread(target=lambda: out.append(server.chat(text, **more)))
    thread.start()
    return thread, out


@pytest.mark.parametrize(
    ("text", "stream"),
    [
        (fake(tokens=5, prefill=30), False),
        (fake(tokens=5, prefill=30), True),
        (fake(tokens=100_000, rate=50), False),
        (fake(tokens=100_000, rate=50), True),
    ],
    ids=["prefill whole", "prefill stream", "decode whole", "decode stream"],
)
def test_a_killed_worker_is_told_at_once_and_the_next_request_works(
    tmp_path: Path, text: str, stream: bool
) -> None:
    with serving(tmp_path, INHOUSE_ENGINE="fake") as server:
        server.chat(fake(tokens=1))
        thread, out = ask_in_background(server, text, stream=stream)
        until(lambda: server.busy() == 1, 5)
        killed = time.monotonic()
        os.kill(server.worker(), signal.SIGKILL)
        thread.join(10)
        assert time.monotonic() - killed < 2
        answer = out[0]
        if answer.status == 200:
            assert stream
            assert answer.events[-1]["error"]["message"]
        else:
            assert answer.status >= 500
            assert answer.json["error"]["message"]
        assert str(tmp_path) not in answer.body.decode()
        assert server.chat(fake(text="back")).json["choices"][0]["message"]["content"] == "back"
        assert server.metric("inhouse_worker_restarts_total") == 1


def test_a_worker_killed_while_idle_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path, INHOUSE_ENGINE="fake") as server:
        server.chat(fake(tokens=1))
        pid = server.worker()
        os.kill(pid, signal.SIGKILL)
        until(lambda: not psutil.pid_exists(pid), 5, "the worker's end")
        assert server.chat(fake(text="back")).json["choices"][0]["message"]["content"] == "back"


def test_a_hung_worker_is_killed_and_its_request_told(tmp_path: Path) -> None:
    with serving(tmp_path, INHOUSE_ENGINE="fake", INHOUSE_HANG_TIMEOUT="1s") as server:
        server.chat(fake(tokens=1))
        thread, out = ask_in_background(server, fake(tokens=100_000, rate=50))
        until(lambda: server.busy() == 1, 5)
        pid = server.worker()
        os.kill(pid, signal.SIGSTOP)
        thread.join(8)
        assert out
        assert out[0].status in (500, 503, 504)
        until(lambda: not psutil.pid_exists(pid), 5, "the worker's end")
        assert server.chat(fake(text="back")).status == 200


def test_a_worker_that_is_never_ready_fails_at_its_deadline(tmp_path: Path) -> None:
    env = {"INHOUSE_FAKE": json.dumps({"never_ready": True}), "INHOUSE_LOAD_TIMEOUT": "1s"}
    with serving(tmp_path, INHOUSE_ENGINE="fake", **env) as server:
        began = time.monotonic()
        answer = server.chat("hi")
        assert answer.status in (500, 503, 504)
        assert time.monotonic() - began < 5


def test_a_crash_loop_backs_off_and_says_why(tmp_path: Path) -> None:
    env = {"INHOUSE_FAKE": json.dumps({"crash_at_start": "tensor 'x' is upside down"})}
    with serving(tmp_path, INHOUSE_ENGINE="fake", **env) as server:
        answers = [server.chat("hi") for _ in range(6)]
        assert all(a.status in (500, 503) for a in answers)
        last = answers[-1]
        assert last.status == 503
        assert int(last.headers["retry-after"]) >= 1
        assert "upside down" in server.log.read_text()
        assert server.ask("GET", "/health").status == 200


def test_sigterm_lets_running_answers_finish_and_takes_no_new_ones(tmp_path: Path) -> None:
    with serving(tmp_path, INHOUSE_ENGINE="fake") as server:
        server.chat(fake(tokens=1))
        thread, out = ask_in_background(server, fake(tokens=40, rate=40), stream=True)
        until(lambda: server.busy() == 1, 5)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        thread.join(10)
        assert out[0].events[-1] == "[DONE]"
        assert server.process.wait(10) == 0
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), 1)


def test_the_drain_has_an_end_and_a_second_sigterm_means_now(tmp_path: Path) -> None:
    with serving(tmp_path / "a", INHOUSE_ENGINE="fake", INHOUSE_DRAIN_TIMEOUT="1s") as server:
        server.chat(fake(tokens=1))
        sock = server.open("/v1/chat/completions", {"model": "fake", "stream": True, "messages": [
            {"role": "user", "content": fake(tokens=100_000, rate=20)}]})  # fmt: skip
        until(lambda: server.busy() == 1, 5)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 6
        sock.close()
    with serving(tmp_path / "b", INHOUSE_ENGINE="fake", INHOUSE_DRAIN_TIMEOUT="60s") as server:
        server.chat(fake(tokens=1))
        sock = server.open("/v1/chat/completions", {"model": "fake", "stream": True, "messages": [
            {"role": "user", "content": fake(tokens=100_000, rate=20)}]})  # fmt: skip
        until(lambda: server.busy() == 1, 5)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        until(lambda: refuses(server.port), 5, "the end of accepting")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 5
        sock.close()


def test_a_killed_server_leaves_no_worker_and_nothing_that_blocks_the_next(tmp_path: Path) -> None:
    server = Server(tmp_path, {"INHOUSE_ENGINE": "fake"})
    for _ in range(5):
        server.start()
        server.chat(fake(tokens=1))
        worker = server.worker()
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        until(lambda pid=worker: not psutil.pid_exists(pid), 3, "the worker's end")
    began = time.monotonic()
    server.start()
    assert time.monotonic() - began < 3
    assert server.chat(fake(text="back")).json["choices"][0]["message"]["content"] == "back"
    server.stop()


def test_a_server_killed_amid_traffic_starts_again_with_a_whole_store(tmp_path: Path) -> None:
    put(tmp_path, "tiny", MODEL)
    server = Server(tmp_path, {"INHOUSE_ENGINE": "fake"})
    for round_ in range(6):
        began = time.monotonic()
        server.start()
        assert time.monotonic() - began < 5
        answered = threading.Semaphore(0)

        def traffic(number: int, answered: threading.Semaphore = answered) -> None:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                while True:
                    copy = {"source": "tiny", "destination": f"copy-{number}"}
                    server.ask("POST", "/api/copy", copy)
                    server.chat(fake(tokens=3, rate=100), stream=True)
                    server.ask("DELETE", "/api/delete", {"model": f"copy-{number}"})
                    answered.release()

        threads = [threading.Thread(target=traffic, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(round_ * 3):
            assert answered.acquire(timeout=20)
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        for thread in threads:
            thread.join(20)
        assert Store(tmp_path).problems() == []
    server.start()
    assert "tiny:latest" in {m["name"] for m in server.ask("GET", "/api/tags").json["models"]}
    server.stop()


def test_a_second_server_on_one_home_refuses(tmp_path: Path) -> None:
    with serving(tmp_path, INHOUSE_ENGINE="fake") as server:
        second = subprocess.run(
            [sys.executable, "-m", "inhouse", "serve"],
            env=server.env,
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert second.returncode == 75
        assert b"already" in second.stderr
        assert len(second.stderr.strip().splitlines()) <= 2


def refused_start(env: dict[str, str]) -> str:
    base = {k: v for k, v in os.environ.items() if not k.startswith("INHOUSE_")}
    done = subprocess.run(
        [sys.executable, "-m", "inhouse", "serve"],
        env={**base, "INHOUSE_ENGINE": "fake", **env},
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert done.returncode not in (0, 75)
    text = done.stderr.decode()
    assert "Traceback" not in text
    return text


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        text = refused_start({"INHOUSE_HOME": str(tmp_path), "INHOUSE_HOST": f"127.0.0.1:{port}"})
    assert str(port) in text


def test_a_home_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert "home" in refused_start({"INHOUSE_HOME": str(tmp_path / "file"), "INHOUSE_HOST": "127.0.0.1:0"})


def test_listening_beyond_loopback_needs_a_key(tmp_path: Path) -> None:
    text = refused_start({"INHOUSE_HOME": str(tmp_path), "INHOUSE_HOST": "0.0.0.0:0"})
    assert "INHOUSE_API_KEY" in text


def test_an_idle_server_goes_away_by_itself(tmp_path: Path) -> None:
    server = Server(tmp_path, {"INHOUSE_ENGINE": "fake", "INHOUSE_IDLE_EXIT": "1s"}).start()
    assert server.process is not None
    assert server.process.wait(15) == 0
    assert not (tmp_path / "server.json").exists()
