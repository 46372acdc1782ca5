"""Finding the server, starting one, settling races, and what ``serve`` hands on."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.scripted import Api, Invoke, Refusal, serving
from inhouse import config
from inhouse.cli import server
from inhouse.cli.commands.serve import address
from inhouse.core.errors import ServerUnreachable
from support.loopback import Loopback

# A server that does what the real one does: takes the lock, writes itself down, answers /health.
STAND_IN = """
import http.server, json, os, pathlib, signal, sys
home = pathlib.Path(os.environ["INHOUSE_HOME"])
(home / "started").open("a").write(" ".join(sys.argv[1:]) + "\\n")
try:
    os.open(home / "lock", os.O_CREAT | os.O_EXCL)
except FileExistsError:
    sys.exit(75)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"status": "ok", "version": "0.1.0", "models": []}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
port = int(os.environ.get("STAND_IN_PORT", "0"))
s = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
(home / "server.tmp").write_text(json.dumps(
    {"host": "127.0.0.1", "port": s.server_address[1], "pid": os.getpid(), "version": "0.1.0"}))
os.replace(home / "server.tmp", home / "server.json")
def leave(*_):
    os.unlink(home / "server.json")
    os._exit(0)
signal.signal(signal.SIGTERM, leave)
s.serve_forever()
"""


def tree(home: Path, **environment: str) -> config.Config:
    return config.load({"INHOUSE_HOME": str(home), **environment})


def write_down(home: Path, **record: Any) -> None:
    home.mkdir(exist_ok=True)
    (home / "server.json").write_text(json.dumps(record))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def stand_in(home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replaces the program that is started; ends what was started."""
    children: list[Any] = []

    def use(program: str = STAND_IN) -> list[Any]:
        real = server.subprocess.Popen

        def popen(command: list[str], **options: Any) -> Any:
            child = real([sys.executable, "-c", program, *command[4:]], **options)
            children.append(child)
            return child

        monkeypatch.setattr(server.subprocess, "Popen", popen)
        return children

    yield use
    for child in children:
        child.kill()
        child.wait()


def test_a_server_that_wrote_itself_down_is_found(home: Path, routes: dict[str, Any]) -> None:
    with serving(Api(routes)) as api:
        write_down(home, host="127.0.0.1", port=int(api.address.partition(":")[2]))
        client = server.find(tree(home))
        assert client is not None
        assert client.address == api.address


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_a_server_on_all_addresses_is_reached_by_loopback(
    home: Path, routes: dict[str, Any], host: str
) -> None:
    assert server._client(tree(home), host, 1).host in ("127.0.0.1", "::1")


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"host": "127.0.0.1", "port": "x"}', "\x80"])
def test_a_damaged_note_counts_as_none(home: Path, record: str) -> None:
    home.mkdir()
    (home / "server.json").write_bytes(record.encode("latin-1"))
    assert server.find(tree(home)) is None


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        ({"status": "ok", "version": "0.1.0"}, server.Place.OURS),
        ({"status": "ok"}, server.Place.STRANGE),
        (Refusal(503, {"status": "stopping"}), server.Place.STOPPING),
        (Refusal(404, b"<html>"), server.Place.STRANGE),
        (b"hello", server.Place.STRANGE),
    ],
)
def test_what_answers_is_told_apart(
    home: Path, routes: dict[str, Any], answer: Any, place: server.Place
) -> None:
    with serving(Api(routes | {"/health": answer})) as api:
        client = server._named(tree(home, INHOUSE_HOST=api.address))
        assert client is not None
        assert server.probe(client) is place


def test_what_speaks_no_http_is_strange(home: Path) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"SSH-2.0\r\n")

    with Loopback(answer) as listener:
        client = server._named(tree(home, INHOUSE_HOST=listener.authority))
        assert client is not None
        assert server.probe(client) is server.Place.STRANGE


def test_what_is_silent_is_an_error_that_says_so(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tree_ = tree(home, INHOUSE_HOST=f"127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(ServerUnreachable, match="does not answer in time"):
            server.find(tree_, timeout=0.05)


def test_a_stranger_at_the_named_address_is_not_replaced(
    api: Api, invoke: Invoke, stand_in: Callable[..., list[Any]]
) -> None:
    children = stand_in()
    api.routes["/health"] = {"hello": "world"}
    result = invoke("list")
    assert result.code == 4
    assert result.err.splitlines() == [
        "Error: what listens there is no Inhouse server",
        f"  {api.address}",
        "Hint: Check INHOUSE_HOST.",
    ]
    assert not children


def test_no_server_is_started_far_away(
    home: Path, monkeypatch: pytest.MonkeyPatch, stand_in: Callable[..., list[Any]]
) -> None:
    children = stand_in()
    monkeypatch.setattr(server, "probe", lambda *_: server.Place.EMPTY)
    with pytest.raises(ServerUnreachable, match="no server listens there"):
        server.connect(tree(home, INHOUSE_HOST="192.0.2.1:1"))
    assert not children


def test_a_name_that_no_one_has_is_an_error(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unknown)
    monkeypatch.setenv("INHOUSE_HOST", "nowhere.invalid")
    result = invoke("list")
    assert (result.code, result.err.splitlines()[0]) == (
        4,
        "Error: the server cannot be reached: there is no such host",
    )


def test_a_server_is_started_and_found(home: Path, stand_in: Callable[..., list[Any]]) -> None:
    children, ticks = stand_in(), []
    client = server.connect(tree(home), lambda: ticks.append(1))
    assert client.get("/health")["status"] == "ok"
    assert (home / "started").read_text() == "serve --background --idle-exit 10m\n"
    assert ticks
    assert len(children) == 1
    assert server.connect(tree(home)).port == client.port
    assert len(children) == 1


def test_settings_of_the_person_win_over_ours(home: Path, stand_in: Callable[..., list[Any]]) -> None:
    stand_in()
    server.connect(tree(home, INHOUSE_IDLE_EXIT="1h"))
    assert (home / "started").read_text() == "serve --background\n"


def test_a_server_at_a_named_address_takes_no_other(
    home: Path, monkeypatch: pytest.MonkeyPatch, stand_in: Callable[..., list[Any]]
) -> None:
    port = str(free_port())
    monkeypatch.setenv("STAND_IN_PORT", port)
    stand_in()
    assert server.connect(tree(home, INHOUSE_HOST=f"localhost:{port}")).port == int(port)
    assert (home / "started").read_text() == "serve --idle-exit 10m\n"


def test_two_that_start_at_once_end_with_one_server(home: Path, stand_in: Callable[..., list[Any]]) -> None:
    stand_in()
    found: list[int] = []
    barrier = threading.Barrier(4)

    def start() -> None:
        barrier.wait()
        found.append(server.connect(tree(home)).port)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_a_loser_without_a_winner_tries_again(
    home: Path, monkeypatch: pytest.MonkeyPatch, stand_in: Callable[..., list[Any]]
) -> None:
    """An old server may still hold the home for a moment while it leaves."""
    monkeypatch.setattr(server, "_RETRY", 0.01)
    children = stand_in(
        "import os\nif not os.path.exists('again'):\n open('again', 'w')\n exit(75)\n" + STAND_IN
    )
    assert server.connect(tree(home)).get("/health")["status"] == "ok"
    assert len(children) == 2


def test_a_server_that_ends_is_explained_by_its_own_words(
    home: Path, invoke: Invoke, stand_in: Callable[..., list[Any]]
) -> None:
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "server.log").write_text("an old line\n")
    stand_in(
        "import sys\nfor i in range(20): print('line', i, flush=True)\nprint('no engine', file=sys.stderr)\nsys.exit(9)"
    )
    result = invoke("list")
    lines = result.err.splitlines()
    assert result.code == 4
    assert lines[0] == "Error: the server ended at once with exit code 9"
    assert len(lines) == 12
    assert "  no engine" in lines
    assert "an old line" not in result.err
    assert lines[-1] == f"Hint: The whole log: {home / 'logs' / 'server.log'}"
    doctor = invoke("doctor")
    assert doctor.code == 4
    assert doctor.out.startswith("error     the server ended at once with exit code 9\n")
    assert "  no engine\n" in doctor.out


def test_a_server_that_never_answers_is_given_up(
    home: Path, monkeypatch: pytest.MonkeyPatch, stand_in: Callable[..., list[Any]]
) -> None:
    children = stand_in("import time; time.sleep(600)")
    monkeypatch.setattr(server, "START_TIMEOUT", 0.1)
    with pytest.raises(ServerUnreachable, match="did not answer within"):
        server.connect(tree(home))
    assert children[0].wait(10) != 0


def test_a_home_that_is_a_file_is_explained(
    home: Path, invoke: Invoke, stand_in: Callable[..., list[Any]]
) -> None:
    stand_in()
    home.write_text("")
    result = invoke("list")
    assert result.code in (2, 4)
    assert result.err.startswith("Error: ")
    assert "Traceback" not in result.err


def test_a_large_log_steps_aside(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_LOG_LIMIT", 3)
    log = server._log_file(home)
    log.write_text("long")
    assert server._log_file(home) == log
    assert not log.exists()
    assert log.with_suffix(".log.1").read_text() == "long"


def test_the_server_of_this_home_can_be_stopped(
    home: Path, invoke: Invoke, stand_in: Callable[..., list[Any]]
) -> None:
    children = stand_in()
    server.connect(tree(home))
    result = invoke("stop", "--server")
    assert (result.code, result.err) == (0, "")
    assert children[0].wait(10) == 0
    assert invoke("stop", "--server").err == "No server of this home runs.\n"


@pytest.mark.parametrize("pid", [None, 0, -1, "1"])
def test_no_signal_goes_to_a_pid_that_is_none(home: Path, routes: dict[str, Any], pid: Any) -> None:
    with serving(Api(routes)) as api:
        write_down(home, host="127.0.0.1", port=int(api.address.partition(":")[2]), pid=pid)
        assert server.stop(tree(home)) is False


def test_a_server_that_does_not_end_is_told(home: Path, stand_in: Callable[..., list[Any]]) -> None:
    stand_in(STAND_IN.replace("SIGTERM, leave", "SIGTERM, signal.SIG_IGN"))
    server.connect(tree(home))
    with pytest.raises(ServerUnreachable, match="does not end"):
        server.stop(tree(home), timeout=0.01)


@pytest.mark.parametrize("words", [[], ["tiny", "--server"]])
def test_stop_wants_a_model_or_the_server(invoke: Invoke, words: list[str]) -> None:
    assert invoke("stop", *words).err.startswith("Error: Give a MODEL or --server.\n")


@pytest.mark.parametrize(
    ("base", "host", "port", "text"),
    [
        ("127.0.0.1:11435", None, 8080, "127.0.0.1:8080"),
        ("127.0.0.1:1", "0.0.0.0", None, "0.0.0.0:1"),
        ("127.0.0.1:1", "0.0.0.0:5", None, "0.0.0.0:5"),
        ("127.0.0.1:1", "::1", 5, "[::1]:5"),
        ("127.0.0.1:1", "[::1]:5", None, "[::1]:5"),
        ("[::1]:7", None, 0, "[::1]:0"),
    ],
)
def test_host_and_port_combine(base: str, host: str | None, port: int | None, text: str) -> None:
    assert address(base, host, port) == text


def test_serve_hands_its_settings_to_the_house(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[config.Config, bool]] = []

    def serve(settings: config.Config, *, background: bool) -> int:
        called.append((settings, background))
        return 75

    import types

    monkeypatch.setitem(sys.modules, "inhouse.compose", types.SimpleNamespace(serve=serve))
    flags = "--port 0 --idle-exit 5m --context 512 --engine fake --set fleet.max_queue=3 --background"
    assert invoke("serve", *flags.split()).code == 75
    ((settings, background),) = called
    assert (settings.server.host, settings.server.idle_exit, background) == ("127.0.0.1:0", 300.0, True)
    assert (settings.engine.context_length, settings.engine.kind) == (512, "fake")
    assert settings.fleet.max_queue == 3
    assert settings.origins["server.idle_exit"] == "flag"
    assert invoke("serve", "--set", "x").err.startswith("Error: 'x' is not NAME=VALUE\n")
    assert invoke("serve", "--set", "x=1").err.startswith("Error: unknown setting 'x'\n")
