"""The worker programs of llama.cpp: settings handed on, and an end that never lingers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inhouse.engines.workers import guard, llamacpp, native

ORDER: dict[str, Any] = {
    "model": "/m.gguf",
    "address": "/run/w.sock",
    "secret": "",
    "slots": 3,
    "context_length": 512,
    "threads": 2,
    "kv_cache_type": "q8_0",
    "gpu_layers": 0,
    "mmap": True,
    "cache_ram_mib": 256,
    "batch": 128,
    "pooling": "last",
    "adapters": [],
    "projector": "",
    "draft": "",
    "draft_tokens": 0,
    "template": "",
    "flash_attention": None,
    "prefixes": "",
    "guess": [],
    "guess_fields": {},
    "logical_batch": 0,
}


def test_the_order_reaches_the_engines_parameters() -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    params = llamacpp.parameters(ORDER, xllamacpp)
    assert params.model.path == "/m.gguf"
    assert params.hostnames == ["/run/w.sock"]
    assert (params.n_parallel, params.n_ctx, params.n_batch, params.n_ubatch) == (3, 1536, 128, 128)
    assert params.cpuparams.n_threads == params.cpuparams_batch.n_threads == 2
    assert params.cache_type_k == params.cache_type_v == xllamacpp.ggml_type.GGML_TYPE_Q8_0
    assert params.pooling_type == xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
    assert (params.embedding, params.kv_unified, params.ui, params.cache_ram_mib) == (True, False, False, 256)
    assert not params.cache_idle_slots
    assert params.n_gpu_layers == 0
    assert params.load_mode == xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_AUTO
    assert params.api_keys == []


def test_guesses_of_all_slots_fit_into_a_batch_that_is_computed_in_parts() -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    params = llamacpp.parameters(ORDER | {"logical_batch": 200}, xllamacpp)
    assert (params.n_batch, params.n_ubatch) == (200, 128)


@pytest.mark.parametrize(("wanted", "kind"), [(None, "AUTO"), (True, "ENABLED"), (False, "DISABLED")])
def test_flash_attention_is_the_engines_choice_unless_it_was_measured(wanted: bool | None, kind: str) -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    params = llamacpp.parameters(ORDER | {"flash_attention": wanted}, xllamacpp)
    assert params.flash_attn_type == getattr(xllamacpp.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{kind}")


def test_a_worker_on_loopback_asks_for_the_secret() -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    order = ORDER | {"address": "127.0.0.1:5001", "secret": "hush", "mmap": False, "pooling": ""}
    params = llamacpp.parameters(order, xllamacpp)
    assert (params.hostnames, params.port, params.api_keys) == (["127.0.0.1"], 5001, ["hush"])
    assert params.load_mode == xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    assert params.pooling_type == xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_UNSPECIFIED


def test_all_parts_of_a_model_reach_the_engines_parameters() -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    order = ORDER | {
        "adapters": [["/a", 0.0], ["/b", 2.0]],
        "projector": "/p",
        "draft": "/d",
        "draft_tokens": 7,
        "guess": ["draft-simple"],
        "logical_batch": 24,
        "template": "{{ x }}",
    }
    params = llamacpp.parameters(order, xllamacpp)
    assert [(one.path, one.scale) for one in params.lora_adapters] == [("/a", 0.0), ("/b", 2.0)]
    assert (params.mmproj.path, params.mmproj_use_gpu) == ("/p", False)
    assert params.chat_template == "{{ x }}"
    kinds = xllamacpp.common_speculative_type
    assert params.speculative.types == [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
    draft = params.speculative.draft
    assert (draft.mparams.path, draft.n_max, draft.n_gpu_layers) == ("/d", 7, 0)
    assert draft.cpuparams.n_threads == 2
    assert draft.cache_type_k == draft.cache_type_v == xllamacpp.ggml_type.GGML_TYPE_Q8_0
    plain = llamacpp.parameters(ORDER, xllamacpp)
    assert plain.speculative.types == [kinds.COMMON_SPECULATIVE_TYPE_NONE]
    assert plain.mmproj_use_gpu
    assert plain.chat_template == ""


class Ended(BaseException):
    """Raised where the process would end or become another."""


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Keep a worker's main from touching this process; what it would have done is noted."""
    noted: dict[str, Any] = {}
    monkeypatch.setattr(guard, "die_with_parent", lambda: noted.setdefault("guarded", True))
    system = SimpleNamespace(
        environ=os.environ,
        dup2=lambda a, b: noted.setdefault("dup2", (a, b)),
        umask=lambda mask: noted.setdefault("umask", mask),
        _exit=lambda code: noted.setdefault("exit", code),
    )
    noted["os"] = system
    monkeypatch.setattr(llamacpp, "os", system)
    monkeypatch.setattr(native, "os", system)
    monkeypatch.setattr(signal, "signal", lambda number, action: noted.setdefault(number, []).append(action))
    return noted


def test_the_wheels_worker_guards_itself_before_it_loads(
    quiet: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def server(params: Any) -> Any:
        assert quiet["guarded"]
        assert quiet["umask"] == 0o177, "the socket is ours alone"
        assert quiet["dup2"] == (2, 1), "nothing may reach standard output"
        assert quiet[signal.SIGTERM] == [signal.SIG_DFL]
        raise Ended

    monkeypatch.setattr(guard, "read_order", lambda: ORDER)
    monkeypatch.setattr(llamacpp, "parameters", lambda order, engine: order)
    monkeypatch.setitem(sys.modules, "xllamacpp", SimpleNamespace(Server=server))
    with pytest.raises(Ended):
        llamacpp.main()


def test_the_wheels_worker_ends_at_once_when_told(
    quiet: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(*_: Any) -> None:
        raise Ended

    monkeypatch.setattr(guard, "read_order", lambda: ORDER)
    monkeypatch.setattr(llamacpp, "parameters", lambda order, engine: order)
    monkeypatch.setitem(sys.modules, "xllamacpp", SimpleNamespace(Server=lambda _: object()))
    monkeypatch.setattr(llamacpp, "threading", SimpleNamespace(Event=lambda: SimpleNamespace(wait=wait)))
    with pytest.raises(Ended):
        llamacpp.main()
    quiet[signal.SIGTERM][-1]()
    assert quiet["exit"] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_on_linux_the_worker_becomes_the_native_server(
    quiet: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def become(path: str, command: list[str], env: dict[str, str]) -> None:
        quiet["become"] = (path, command, env["LLAMA_API_KEY"])
        raise Ended

    monkeypatch.setattr(
        guard,
        "read_order",
        lambda: {"command": ["/bin/ls", "-x"], "secret": "hush", "address": "", "template": ""},
    )
    quiet["os"].execve = become
    with pytest.raises(Ended):
        native.main()
    assert quiet["become"] == ("/bin/ls", ["/bin/ls", "-x"], "hush")
    assert quiet["guarded"]
    assert quiet["umask"] == 0o177


SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_a_native_server_ends_with_its_parent() -> None:
    parent = (
        "import json, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'inhouse.engines.workers.native'], stdin=subprocess.PIPE)\n"
        "child.stdin.write(sys.argv[1].encode() + b'\\n'); child.stdin.flush()\n"
        "print(child.pid, flush=True); time.sleep(60)\n"
    )
    order = json.dumps({"command": SLEEPER, "secret": "", "address": "", "template": ""})
    with subprocess.Popen(
        [sys.executable, "-c", parent, order], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as middle:
        assert middle.stdout is not None
        assert middle.stderr is not None
        child = int(middle.stdout.readline())
        assert middle.stderr.readline() == b"up\n", "standard output goes to the log"
        middle.kill()
        deadline = time.monotonic() + 5
        while _alive(child):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_where_there_is_no_death_signal_the_child_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    real = os.read
    monkeypatch.setattr(os, "read", lambda fd, size: real(read if fd == 0 else fd, size))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    os.write(write, b"more")
    os.close(write)
    assert native._supervise(SLEEPER, dict(os.environ)) != 0
    os.close(read)


def test_elsewhere_the_servers_exit_code_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    order = {"command": ["x"], "secret": "", "address": "", "template": ""}
    monkeypatch.setattr(guard, "read_order", lambda: order)
    monkeypatch.setattr(native, "_supervise", lambda command, env: 7)
    with pytest.raises(SystemExit) as caught:
        native.main()
    assert caught.value.code == 7


@pytest.mark.skipif(sys.platform != "linux", reason="memory files are Linux's")
def test_a_native_server_reads_the_models_own_template_from_memory() -> None:
    show = "import sys; print(open(sys.argv[-1]).read(), *sys.argv[1:-1])"
    order = {"command": [sys.executable, "-c", show], "secret": "", "address": "", "template": "{{ ä }}"}
    worker = [sys.executable, "-m", "inhouse.engines.workers.native"]
    with subprocess.Popen(worker, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stderr is not None
        child.stdin.write(json.dumps(order).encode() + b"\n")
        child.stdin.flush()  # and kept open: its end would mean that we are gone
        assert child.stderr.read().decode().split() == ["{{", "ä", "}}", "--chat-template-file"]


def test_elsewhere_the_template_lies_in_a_private_folder_until_the_end() -> None:
    with native.on_disk("{{ x }}") as (flag, path):
        assert flag == "--chat-template-file"
        assert Path(path).read_text() == "{{ x }}"
        if sys.platform != "win32":
            assert Path(path).parent.stat().st_mode & 0o077 == 0
    assert not Path(path).parent.exists()
    with native.on_disk("") as flags:
        assert flags == []
