"""How llama.cpp is found and started: pure facts in, a whole Launch out."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.engine import Launch
from inhouse.core.errors import BadRequest, LoadFailed
from inhouse.core.models import Card, CardFile, Footprint, ModelName, Tuning
from inhouse.core.requests import LoadOptions
from inhouse.engines import native
from inhouse.engines.child import scrubbed
from inhouse.engines.engines import Engines
from inhouse.engines.fake import FakeRecipe
from inhouse.engines.llamacpp import RUNAWAY, LlamaCpp, batch_size, padded
from inhouse.engines.native import arguments, flags_of
from inhouse.engines.recipe import Availability, Room, Tuned

GB = 2**30
CARD = Card(
    ModelName.parse("m"),
    "0" * 64,
    "/models/blob",
    "1" * 64,
    100 * 2**20,
    Footprint(100 * 2**20, 1024),
    capabilities=frozenset({"completion", "chat"}),
    parameters=135_000_000,
    context_length=8192,
)
EMBEDDER = dataclasses.replace(CARD, capabilities=frozenset({"embedding"}), context_length=512)
ROOM = Room(memory=8 * GB, cores=2)
WHEEL = Availability("wheel", True, "1.2")
HELP = """
-c,    --ctx-size N   size  (default: 0)
-t, --threads N  -tb, --threads-batch N -b, --batch-size N -ub, --ubatch-size N
-ngl, --gpu-layers, --n-gpu-layers N
-ctk, --cache-type-k TYPE  -ctv, --cache-type-v TYPE
-m, --model FNAME  --host HOST  IP or UNIX socket paths ending in .sock  --port PORT
--flash-attn [on|off|auto] --spec-ngram-simple-size-n N --spec-ngram-simple-size-m N --spec-ngram-simple-min-hits N
-np, --parallel N  --pooling {none,mean}  -lm, --load-mode MODE -cram, --cache-ram N
--lora FNAME  --lora-scaled FNAME:SCALE,...  -mm, --mmproj FILE  --mmproj-offload, --no-mmproj-offload
--chat-template-file FILE  --spec-draft-model, -md, --model-draft FNAME  --spec-type none,draft-simple
--spec-draft-n-max N  --spec-draft-ngl, --gpu-layers-draft N  --spec-draft-type-k, --cache-type-k-draft TYPE
--jinja, --no-jinja --metrics --slots, --no-slots --embedding, --embeddings
--ui, --webui, --no-ui, --no-webui  --context-shift, --no-context-shift -kvu, --kv-unified, --no-kv-unified --offline
"""


@dataclasses.dataclass(frozen=True)
class Settings:
    kind: str = "auto"
    llama_server: str = ""
    context_length: int = 0
    slots: int = 0
    threads: int = 0
    kernels: str = "off"
    kv_cache_type: str = "f16"
    prompt_cache: int = 0
    prompt_sharing: str = "memory"
    speculative: str = "auto"
    fake: str = ""


def launch(card: Card = CARD, options: LoadOptions | None = None, **settings: Any) -> Launch:
    recipe = LlamaCpp(Settings(**settings), WHEEL, {})
    return recipe.launch(card, options or LoadOptions(), room=ROOM, address="/run/w.sock", secret="")


def order(found: Launch) -> dict[str, Any]:
    assert found.stdin.endswith(b"\n")
    return dict(json.loads(found.stdin))


def test_the_wheel_is_started_by_our_worker_with_a_whole_order() -> None:
    found = launch()
    assert found.command == (sys.executable, "-P", "-m", "inhouse.engines.workers.llamacpp")
    assert found.build == "xllamacpp 1.2"
    assert found.context_length == 8192
    assert found.slots >= 1
    assert found.memory > CARD.footprint.weights
    assert order(found) == {
        "model": "/models/blob",
        "address": "/run/w.sock",
        "secret": "",
        "slots": found.slots,
        "context_length": 8192,
        "threads": 2,
        "kv_cache_type": "f16",
        "gpu_layers": -1,
        "mmap": True,
        "memory_limit": 2 * found.memory + RUNAWAY,
        "cache_ram_mib": 0,
        "batch": 256,
        "pooling": "last",
        "adapters": [],
        "projector": "",
        "draft": "",
        "draft_tokens": 0,
        "template": "",
        "flash_attention": None,
        "guess": ["ngram-simple"],
        "guess_fields": {"ngram_simple": {"size_n": 8, "size_m": 24, "min_hits": 1}},
        "logical_batch": 25 * found.slots,
        "prefixes": "",
        "kernels": "",
    }


def test_a_request_may_rule_guesses_out() -> None:
    assert launch().speculative == "ngram"
    plain = launch(options=LoadOptions(unguessed=True), speculative="ngram")
    assert plain.speculative == ""
    assert (order(plain)["guess"], order(plain)["logical_batch"]) == ([], 0)


def test_what_was_measured_comes_after_what_was_set() -> None:
    tuned = Tuned(1, 256, True, "q8_0", 2, False, "none")
    room = dataclasses.replace(ROOM, tuned=tuned)

    def made(options: LoadOptions, **settings: Any) -> dict[str, Any]:
        recipe = LlamaCpp(Settings(**settings), WHEEL, {})
        return order(recipe.launch(CARD, options, room=room, address="/run/w.sock", secret=""))

    told = made(LoadOptions())
    assert (told["threads"], told["batch"], told["flash_attention"], told["slots"]) == (1, 256, True, 2)
    assert (told["kv_cache_type"], told["mmap"], told["guess"]) == ("q8_0", False, [])
    told = made(LoadOptions(threads=3, batch=64, use_mmap=True), slots=1, speculative="ngram")
    assert (told["threads"], told["batch"], told["mmap"], told["slots"]) == (3, 64, True, 1)
    assert told["guess"] == ["ngram-simple"]
    assert made(LoadOptions(), threads=2)["threads"] == 2


def test_options_of_the_request_come_before_the_settings() -> None:
    options = LoadOptions(context_length=1000, batch=512, gpu_layers=0, threads=7, use_mmap=False)
    found = launch(options=options, context_length=4096, slots=3, threads=5, kv_cache_type="q8_0")
    told = order(found)
    assert (found.context_length, found.slots) == (1000, 3)
    assert told["context_length"] == 1024, "what the engine would make of it anyway"
    assert (told["batch"], told["gpu_layers"], told["threads"], told["mmap"]) == (512, 0, 7, False)
    assert told["kv_cache_type"] == "q8_0"
    assert launch(context_length=4096, threads=5).context_length == 4096
    assert order(launch(threads=5))["threads"] == 5


def test_prompts_that_lose_their_slot_are_kept_in_memory_that_is_counted() -> None:
    found = launch(prompt_cache=256 * 2**20)
    assert order(found)["cache_ram_mib"] == 256
    assert found.memory == launch().memory + 256 * 2**20
    assert order(found)["memory_limit"] >= 2 * launch().memory + 256 * 2**20


def test_kept_prompts_take_only_what_context_and_slots_leave() -> None:
    found = launch(prompt_cache=2**50)
    assert (found.context_length, found.slots) == (launch().context_length, launch().slots)
    assert ROOM.memory - 2**20 < found.memory <= ROOM.memory
    embeds = dataclasses.replace(CARD, capabilities=frozenset({"embedding"}))
    assert order(launch(embeds, prompt_cache=2**30))["cache_ram_mib"] == 0


def test_no_prompt_is_kept_that_may_have_been_read_with_another_share_of_an_adapter() -> None:
    for scale in (0.0, 1.0):
        lora = CardFile("adapter", "/blobs/l", "l.gguf", "sha256:" + "1" * 64, 100, scale)
        card = dataclasses.replace(CARD, files=(*CARD.files, lora))
        assert order(launch(card, prompt_cache=2**30))["cache_ram_mib"] == 0


def test_a_smaller_cache_type_needs_less_memory() -> None:
    assert launch(kv_cache_type="q8_0").memory < launch().memory


def test_an_embedding_model_computes_its_whole_context_at_once() -> None:
    found = launch(EMBEDDER)
    told = order(found)
    assert found.context_length == 512
    assert told["context_length"] == 768, "the engine takes prompts shorter than its context only"
    assert (told["batch"], told["pooling"]) == (768, "")


def test_only_gguf_is_run() -> None:
    with pytest.raises(BadRequest) as caught:
        launch(dataclasses.replace(CARD, format="safetensors"))
    assert caught.value.hint == "Convert it first: inhouse convert m:latest NEW-NAME"
    with pytest.raises(BadRequest):
        launch(dataclasses.replace(CARD, format="onnx"))


@pytest.mark.parametrize(
    ("parameters", "cores", "size"),
    [
        (630_000_000, 2, 256),
        (1_500_000_000, 2, 128),
        (8_000_000_000, 2, 64),
        (8_000_000_000, 16, 128),
        (135_000_000, 8, 256),
        (0, 0, 256),
    ],
)
def test_batches_are_small_enough_to_leave_soon(parameters: int, cores: int, size: int) -> None:
    card = dataclasses.replace(CARD, parameters=parameters)
    assert batch_size(card, Room(GB, cores)) == size


@pytest.mark.parametrize(
    ("pages", "memory", "options", "mapped", "asks"),
    [
        ("madvise", 16 * GB, LoadOptions(), False, True),
        ("always", 16 * GB, LoadOptions(), False, False),
        ("never", 16 * GB, LoadOptions(), True, False),
        ("", 16 * GB, LoadOptions(), True, False),
        ("madvise", GB // 5, LoadOptions(context_length=4096), True, False),  # there is not plenty
        ("madvise", 16 * GB, LoadOptions(use_mmap=True), True, False),
        ("madvise", GB // 5, LoadOptions(context_length=4096, use_mmap=False), False, True),
    ],
)
def test_weights_are_read_into_huge_pages_where_there_is_plenty_of_memory(
    pages: str, memory: int, options: LoadOptions, mapped: bool, asks: bool
) -> None:
    room = Room(memory, 2, huge_pages=pages)
    made = LlamaCpp(Settings(), WHEEL, {}).launch(CARD, options, room=room, address="/run/w.sock", secret="")
    assert order(made)["mmap"] is mapped
    assert ("GLIBC_TUNABLES" in made.env) is asks


@pytest.mark.parametrize(("wanted", "made"), [(1, 256), (256, 256), (257, 512), (4096, 4096)])
def test_contexts_are_padded_like_the_engine_does(wanted: int, made: int) -> None:
    assert padded(wanted) == made


def test_a_worker_inherits_no_keys_and_no_home() -> None:
    env = scrubbed(
        {"PATH": "/bin", "HOME": "/home/me", "OPENAI_API_KEY": "k", "CUDA_VISIBLE_DEVICES": "1", "TMP": ""}
    )
    assert env["PATH"] == "/bin"
    assert env["CUDA_VISIBLE_DEVICES"] == "1"
    assert "OPENAI_API_KEY" not in env
    assert env["HOME"] != "/home/me"
    assert "TMP" not in env
    assert int(env["GOMP_SPINCOUNT"]) > 0
    assert scrubbed({"GOMP_SPINCOUNT": "7"})["GOMP_SPINCOUNT"] == "7"
    assert "PYTHONPATH" not in env


def test_a_user_site_stays_reachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("site.ENABLE_USER_SITE", True)
    monkeypatch.setattr("site.getusersitepackages", lambda: str(tmp_path))
    monkeypatch.setattr("site.getuserbase", lambda: "/home/me/.local")
    assert scrubbed({})["PYTHONUSERBASE"] == "/home/me/.local"


def test_native_flags_are_those_this_version_has() -> None:
    known = flags_of(HELP)
    told = order(launch(options=LoadOptions(gpu_layers=3, use_mmap=False)))
    found = arguments(told, known)
    pairs = dict(itertools.pairwise(found))
    assert pairs["--model"] == "/models/blob"
    assert pairs["--host"] == "/run/w.sock"
    assert pairs["--ctx-size"] == str(told["context_length"] * told["slots"])
    assert (pairs["--gpu-layers"], pairs["--load-mode"], pairs["--pooling"]) == ("3", "none", "last")
    assert {
        "--jinja",
        "--metrics",
        "--slots",
        "--embeddings",
        "--no-ui",
        "--no-kv-unified",
        "--offline",
    } <= set(found)
    assert "--port" not in found
    assert "--no-webui" not in found


TUNED = dataclasses.replace(
    CARD,
    tuning=Tuning(
        context_length=1024, slots=3, threads=6, gpu_layers=0, kv_cache_type="q8_0", engine="wheel"
    ),
)


def test_a_models_tuning_comes_before_the_settings_and_after_the_request() -> None:
    found = launch(TUNED, context_length=4096, slots=1, threads=5)
    told = order(found)
    assert (found.context_length, found.slots) == (1024, 3)
    assert (told["threads"], told["gpu_layers"], told["kv_cache_type"]) == (6, 0, "q8_0")
    asked = order(launch(TUNED, LoadOptions(context_length=512, gpu_layers=9, threads=2)))
    assert (asked["context_length"], asked["gpu_layers"], asked["threads"]) == (512, 9, 2)


def test_a_model_for_another_engine_is_refused_with_both_names() -> None:
    other = dataclasses.replace(CARD, tuning=Tuning(engine="native"))
    with pytest.raises(BadRequest) as caught:
        launch(other)
    assert "'native'" in caught.value.message
    assert "'wheel'" in caught.value.message
    assert "INHOUSE_ENGINE=native" in caught.value.hint
    with pytest.raises(BadRequest):
        FakeRecipe({}).launch(other, LoadOptions(), address="/a.sock", secret="")
    assert launch(dataclasses.replace(CARD, tuning=Tuning(engine="auto"))).slots


def part(role: str, path: str, size: int = 10 * 2**20, scale: float = 1.0) -> CardFile:
    return CardFile(role, path, "f.gguf", "sha256:" + "2" * 64, size, scale)


WHOLE = dataclasses.replace(
    CARD,
    files=(
        part("model", "/models/blob"),
        part("adapter", "/a", scale=0.5),
        part("adapter", "/b"),
        part("projector", "/p"),
        part("draft", "/d", 50 * 2**20),
    ),
    own_template=True,
    template="{{ messages }}",
)


def test_all_parts_of_a_model_reach_the_worker_and_count_in_its_memory() -> None:
    found = launch(WHOLE)
    told = order(found)
    assert told["adapters"] == [["/a", 0.5], ["/b", 1.0]]
    assert (told["projector"], told["draft"], told["template"]) == ("/p", "/d", "{{ messages }}")
    assert told["batch"] == 512, "an image fits into one batch"
    kv = 1024 // 2 * found.context_length * found.slots
    assert found.memory >= launch().memory + 80 * 2**20 + kv, "the draft model has a KV cache too"


def test_a_template_that_came_with_the_weights_is_left_to_the_engine() -> None:
    assert order(launch(dataclasses.replace(CARD, template="{{ x }}")))["template"] == ""


@pytest.mark.parametrize(("wanted", "draft", "tokens"), [(9, "/d", 9), (0, "", 0), ("x", "/d", 4)])
def test_a_model_says_how_much_its_draft_guesses(wanted: Any, draft: str, tokens: int) -> None:
    told = order(launch(dataclasses.replace(WHOLE, defaults={"draft_num_predict": wanted})))
    assert (told["draft"], told["draft_tokens"]) == (draft, tokens)


def test_native_flags_name_all_parts_of_a_model() -> None:
    found = arguments(order(launch(WHOLE, LoadOptions(gpu_layers=0))), flags_of(HELP))
    text = " ".join(found)
    assert "--lora-scaled /a:0.5 --lora-scaled /b:1" in text
    assert "--mmproj /p" in text
    assert "--spec-draft-model /d --spec-type draft-simple --spec-draft-n-max 4" in text
    assert "--spec-draft-ngl 0 --spec-draft-type-k f16" in text
    assert "--no-mmproj-offload" in found
    assert "--spec-draft-type-v" not in found


def test_older_versions_take_a_scale_as_a_second_value_and_the_older_draft_flag() -> None:
    known = frozenset({"--lora", "--lora-scaled", "--model-draft", "--draft-max"})
    told = order(launch(WHOLE)) | {"projector": "", "template": ""}
    assert arguments(told, known) == [
        "--lora-scaled", "/a", "0.5", "--lora-scaled", "/b", "1", "--model-draft", "/d", "--draft-max", "4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "own", "flag"),
    [
        ((part("adapter", "/a"),), False, "--lora-scaled"),
        ((part("projector", "/a"),), False, "--mmproj"),
        ((part("draft", "/a"),), False, "--spec-draft-model"),
        ((), True, "--chat-template-file"),
    ],
)
def test_a_version_that_lacks_what_the_model_needs_is_refused(
    files: tuple[CardFile, ...], own: bool, flag: str
) -> None:
    card = dataclasses.replace(CARD, files=files, own_template=own, template="x" if own else "")
    with pytest.raises(LoadFailed) as caught:
        arguments(order(launch(card)), frozenset({"--model"}))
    assert flag in caught.value.message
    assert caught.value.hint


def test_awkward_adapter_paths_are_quoted_or_refused() -> None:
    told = order(launch(dataclasses.replace(CARD, files=(part("adapter", 'C:\\my "a".gguf'),))))
    assert arguments(told, flags_of(HELP))[-2:] == ["--lora", '"C:\\my ""a"".gguf"']
    scaled = dataclasses.replace(CARD, files=(part("adapter", "C:\\a.gguf", scale=0.5),))
    with pytest.raises(LoadFailed) as caught:
        arguments(order(launch(scaled)), flags_of(HELP))
    assert "C:" not in caught.value.message


def test_older_flags_are_used_where_newer_ones_are_missing() -> None:
    known = frozenset({"--model", "--host", "--port", "--no-webui", "--embedding", "--no-mmap"})
    told = order(launch(options=LoadOptions(use_mmap=False), speculative="none")) | {
        "address": "127.0.0.1:5001",
        "secret": "hush",
    }
    found = arguments(told, known)
    assert found == [
        "--model", "/models/blob", "--host", "127.0.0.1", "--port", "5001", "--embedding", "--no-webui", "--no-mmap",
    ]  # fmt: skip
    assert "hush" not in found, "a key on the command line shows in the process list"


def binary(folder: Path, *, version: str = "version: 123 (abc)", text: str = HELP, code: int = 0) -> Path:
    path = folder / "llama-server"
    (folder / "help.txt").write_text(text)
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo "{version}" >&2; else cat "{folder}/help.txt"; fi\nexit {code}\n'
    )
    path.chmod(0o755)
    return path


posix = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")


@posix
def test_a_native_binary_is_found_on_path_and_drives_the_same_order(tmp_path: Path) -> None:
    path = binary(tmp_path)
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    recipe = Engines(Settings(), state=tmp_path, environ=env).default
    assert recipe.name == "llama.cpp (path)"
    assert recipe.build == "llama-server 123 (abc)"
    assert recipe.cards() == ()
    found = recipe.launch(CARD, LoadOptions(), room=ROOM, address="/run/w.sock", secret="")
    assert found.command[-1] == "inhouse.engines.workers.native"
    told = json.loads(found.stdin)
    assert told["command"][:3] == [str(path), "--model", "/models/blob"]
    assert set(told) == {"command", "address", "secret", "template"}


@posix
def test_a_binary_is_asked_once_until_its_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = subprocess.run

    def run(command: list[str], **kwargs: Any) -> Any:
        asked.append(command[1])
        return real(command, **kwargs)

    monkeypatch.setattr(subprocess, "run", run)
    path = binary(tmp_path)
    for _ in range(3):
        assert native.find(str(path), {}).version == "123 (abc)"
    assert asked == ["--version", "--help"]
    binary(tmp_path, version="version: 124 (longer)")
    assert native.find(str(path), {}).version == "124 (longer)"


@posix
def test_a_binary_that_is_asked_what_it_is_gets_no_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = binary(tmp_path)
    monkeypatch.setenv("INHOUSE_API_KEY", "hush")
    path.write_text(path.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\nenv >> {tmp_path}/env\n"))
    assert native.find(str(path), {}).ok
    assert "PATH=" in (tmp_path / "env").read_text()
    assert "hush" not in (tmp_path / "env").read_text()


@posix
@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("old", "too old: it lacks --jinja"),
        ("tcp", "cannot listen on a Unix socket"),
        ("silent", "does not run"),
        ("missing", "does not run"),
        ("no file", "does not run"),
    ],
)
def test_a_binary_that_cannot_be_used_says_why_and_what_to_do(tmp_path: Path, kind: str, why: str) -> None:
    path = tmp_path / "llama-server"
    if kind == "old":
        binary(tmp_path, text=HELP.replace("--jinja, --no-jinja", ""))
    elif kind == "tcp":
        binary(tmp_path, text=HELP.replace(".sock", ""))
    elif kind == "silent":
        binary(tmp_path, version="hello")
    elif kind == "no file":
        path.mkdir()
    found = native.find(str(path), {})
    assert not found.ok
    assert why in found.why
    assert found.fix


@posix
def test_a_configured_binary_that_fails_is_never_replaced_in_silence(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed) as caught:
        Engines(Settings(llama_server=str(tmp_path / "none")), state=tmp_path, environ={})
    assert caught.value.hint
    assert str(tmp_path) not in caught.value.message


def test_auto_takes_the_wheel_when_there_is_no_binary(tmp_path: Path) -> None:
    assert Engines(Settings(), state=tmp_path, environ={"PATH": ""}).default.name == "llama.cpp (wheel)"
    wheel = Engines(Settings(kind="wheel"), state=tmp_path, environ={}).default
    assert wheel.build.startswith("xllamacpp 20")


def test_no_engine_at_all_is_said_with_both_fixes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there = Engines(Settings(), state=tmp_path, environ={"PATH": ""})

    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(LoadFailed) as caught:
        Engines(Settings(), state=tmp_path, environ={"PATH": ""})
    assert "llama-server" in caught.value.message
    assert "wheel" in caught.value.message
    assert "INHOUSE_LLAMA_SERVER" in caught.value.hint
    found = {one.name: one.ok for one in there.available()}
    assert (found["wheel"], found["path"]) == (False, False)
    assert not any(found.values())


def test_the_parent_never_imports_the_wheel(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from inhouse.engines.engines import Engines; from inhouse.config import Engine;"
        "Engines(Engine(), state=pathlib.Path(sys.argv[1]), environ={}).available();"
        "sys.exit('xllamacpp' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0


def test_the_fake_engine_is_chosen_by_name(tmp_path: Path) -> None:
    assert Engines(Settings(kind="fake"), state=tmp_path).default.name == "fake"
