"""How engines beside llama.cpp are run: transformers, vLLM, SGLang and commands of the operator's."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from inhouse.config import Engine, Program
from inhouse.core.engine import Launch
from inhouse.core.errors import BadRequest, LoadFailed, OutOfMemory, Unsupported
from inhouse.core.features import FEATURES, OPENAI
from inhouse.core.models import Card, CardFile, Footprint, ModelName, Tuning
from inhouse.core.requests import LoadOptions
from inhouse.engines import command, environments, registry, sglang, transformers, vllm
from inhouse.engines.command import Command
from inhouse.engines.engines import Engines
from inhouse.engines.recipe import Recipe, Room
from inhouse.engines.served import Server, gpu_plan
from inhouse.engines.sglang import Sglang
from inhouse.engines.tool import Ended
from inhouse.engines.transformers import Transformers
from inhouse.engines.vllm import Vllm
from inhouse.engines.workers import command as worker
from inhouse.machine import Gpu, detect

GIB = 2**30
CARD = Card(
    name=ModelName.parse("qwen"),
    digest="3" * 64,
    weights="/models/qwen",
    weights_digest="3" * 64,
    size=GIB,
    footprint=Footprint(GIB, 16384),
    capabilities=frozenset({"completion", "chat", "tools"}),
    format="safetensors",
    family="qwen2",
    parameters=GIB // 2,
    quantization="BF16",
    context_length=32768,
    template="{{ messages }}",
)
CPU = Room(16 * GIB, 4)
H100 = Gpu("nvidia", "H100", 80 * GIB, 79 * GIB)
GPU = Room(64 * GIB, 16, (H100,))
ENV = {"PATH": "/bin", "SECRET_TOKEN": "x"}


def installed(home: Path, torch: str = "2.13.0+cpu") -> Path:
    """A home with what an installation leaves."""
    python = environments.python_of(transformers.place(home))
    (python.parent).mkdir(parents=True)
    python.write_text("")
    (transformers.place(home) / f"lib/python3.11/site-packages/torch-{torch}.dist-info").mkdir(parents=True)
    return home


def on_path(folder: Path, name: str) -> dict[str, str]:
    script = folder / name
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    return {"PATH": str(folder), "SECRET_TOKEN": "x"}


def launch(recipe: Recipe, card: Card = CARD, room: Room = CPU, **options: Any) -> Launch:
    return recipe.launch(card, LoadOptions(**options), room=room, address="/run/w.sock", secret="")


def order(made: Launch) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made.stdin)
    return found


# transformers


@pytest.fixture
def recipe(tmp_path: Path) -> Transformers:
    return Transformers(Engine(), installed(tmp_path), ENV)


def test_the_worker_runs_in_the_engines_own_environment(recipe: Transformers, tmp_path: Path) -> None:
    made = launch(recipe)
    assert made.command[:2] == (str(environments.python_of(transformers.place(tmp_path))), "-I")
    assert Path(made.command[2]).is_file()
    assert (made.wire, made.served_as, made.engine) == ("openai", "qwen:latest", "transformers")
    assert made.takes <= FEATURES.keys()
    assert made.env["HF_HUB_OFFLINE"] == "1"
    assert "SECRET_TOKEN" not in made.env
    assert "torch 2.13.0+cpu" in made.build
    asked = order(made)
    assert (asked["task"], asked["dtype"], asked["device"], asked["threads"]) == ("text", "float32", "cpu", 4)
    assert asked["slots"] == made.slots
    assert asked["context_length"] == made.context_length == 8192
    assert asked["template"] == ""
    assert made.memory > CARD.parameters * 4


def test_the_worker_takes_every_field_of_its_order(recipe: Transformers) -> None:
    """The worker refuses an unknown field; its own list is read from its source, for torch is not here."""
    source = (Path(transformers.WORKER).parent / "transformers_model.py").read_text("utf-8")
    for name in order(launch(recipe)):
        assert f"    {name}: " in source


def test_what_a_model_and_a_request_say_goes_before_the_settings(tmp_path: Path) -> None:
    recipe = Transformers(Engine(slots=3, threads=7, context_length=1024), installed(tmp_path), ENV)
    made = launch(recipe)
    assert (made.slots, made.context_length, order(made)["threads"]) == (3, 1024, 7)
    tuned = dataclasses.replace(CARD, tuning=Tuning(slots=2, context_length=2048), own_template=True)
    made = launch(recipe, tuned, threads=1)
    assert (made.slots, made.context_length, order(made)["threads"]) == (2, 2048, 1)
    assert order(made)["template"] == CARD.template
    assert launch(recipe, tuned, context_length=99_999).context_length == 32768


def test_embeddings_need_no_memory_for_answers(recipe: Transformers) -> None:
    card = dataclasses.replace(CARD, capabilities=frozenset({"embedding"}))
    made = launch(recipe, card)
    assert order(made)["task"] == "embedding"
    assert made.memory < launch(recipe).memory


def test_a_model_that_does_not_fit_is_made_smaller_step_by_step(recipe: Transformers) -> None:
    assert launch(recipe).slots == transformers.SLOTS
    half = launch(recipe, room=Room(int(3.2 * GIB), 4))
    assert (order(half)["dtype"], half.slots) == ("bfloat16", transformers.SLOTS)
    assert "bfloat16" in half.notices[0]
    single = launch(recipe, room=Room(int(2.0 * GIB), 4))
    assert single.memory <= 2.0 * GIB
    assert single.slots < transformers.SLOTS
    short = launch(recipe, room=Room(int(1.75 * GIB), 4))
    assert (short.slots, short.context_length) == (1, 2048)
    with pytest.raises(OutOfMemory, match="MiB"):
        launch(recipe, room=Room(GIB, 4))


def test_a_gpu_is_used_where_the_model_fits_into_it(recipe: Transformers) -> None:
    made = launch(recipe, room=GPU)
    assert (order(made)["device"], order(made)["dtype"]) == ("auto", "auto")
    assert 0 < made.device_memory < made.memory
    assert order(launch(recipe, room=GPU, gpu_layers=0))["device"] == "cpu"
    small = Room(64 * GIB, 16, (Gpu("nvidia", "T", GIB, GIB),))
    made = launch(recipe, room=small)
    assert order(made)["device"] == "cpu"
    assert "GPU" in made.notices[0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": "gguf"}, "safetensors models only"),
        ({"quantization": "AWQ"}, "AWQ"),
        ({"capabilities": frozenset({"rerank"})}, "rank"),
        ({"files": (CardFile("adapter", "a", "a", "", 1),)}, "adapters"),
        ({"tuning": Tuning(engine="native")}, "native"),
    ],
)
def test_what_it_does_not_run_is_refused_with_a_way_out(
    recipe: Transformers, change: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadRequest, match=why) as caught:
        launch(recipe, dataclasses.replace(CARD, **change))
    assert caught.value.hint
    assert caught.value.param == "model"


def test_without_the_engine_both_ways_out_are_told(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="not installed") as caught:
        launch(Transformers(Engine(), tmp_path, ENV))
    assert "inhouse engine install transformers" in caught.value.hint
    assert "inhouse convert qwen:latest" in caught.value.hint
    assert not transformers.able(tmp_path, ENV).ok


@pytest.mark.parametrize(
    ("vendors", "kind"),
    [([], "cpu"), (["nvidia"], "cuda"), (["amd"], "rocm"), (["intel"], "cpu"), (["amd", "nvidia"], "cuda")],
)
def test_the_build_of_pytorch_suits_the_gpus(vendors: list[str], kind: str) -> None:
    assert transformers.flavour([Gpu(vendor, "x") for vendor in vendors]) == kind


class Pip:
    """Stands in for children: makes the environment and notes what pip was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail: str = "") -> None:
        self.calls: list[list[str]] = []
        self.fail = fail
        monkeypatch.setattr(environments, "run", self)

    def __call__(self, told: Any, heard: Any, stopped: Any) -> Ended:
        self.calls.append(list(told.argv))
        heard("a line")
        if "venv" in told.argv:
            python = environments.python_of(Path(told.argv[-1]))
            python.parent.mkdir(parents=True, exist_ok=True)
            python.write_text("")
        return Ended(int(bool(self.fail) and any(self.fail in word for word in told.argv)), ("ERROR",))


def test_an_installation_pins_every_package_by_digest_and_tries_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    pip, said = Pip(monkeypatch), list[str]()
    transformers.install(tmp_path, said.append, lambda: False, ENV)
    _, torch, rest, check = pip.calls
    assert {f"torch=={environments.TORCH}+cpu", "--no-deps"} <= set(torch)
    assert {"--require-hashes", "--no-deps", str(transformers.PINS)} <= set(rest)
    assert check[-1] == "import torch, transformers, llguidance"
    assert "MiB to download" in said[0]
    assert transformers.able(tmp_path, ENV).ok
    for kind, sign in (("nvidia", f"torch=={environments.TORCH}"), ("amd", transformers.ROCM_INDEX)):
        pip.calls.clear()
        transformers.install(tmp_path, said.append, lambda: False, ENV, gpus=[Gpu(kind, "x")])
        assert sign in pip.calls[1]


def test_an_engine_that_does_not_start_is_not_left_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Pip(monkeypatch, fail="import torch")
    with pytest.raises(LoadFailed, match="does not start"):
        transformers.install(tmp_path, lambda _: None, lambda: False, ENV)
    assert not list((tmp_path / "engines").iterdir())


def test_the_pins_hold_what_is_installed() -> None:
    pins = transformers.PINS.read_text("utf-8")
    assert f"transformers=={transformers.VERSION} " in pins
    names = [line for line in pins.splitlines() if line[:1].isalnum()]
    assert all("==" in name for name in names)
    assert pins.count("--hash=sha256:") > len(names)


# vLLM and SGLang


def flags(words: list[str]) -> dict[str, str]:
    return {a: b for a, b in zip(words, [*words[1:], ""], strict=True) if a.startswith("--")}


def test_vllm_listens_on_our_socket_and_takes_what_it_needs_of_the_gpu(tmp_path: Path) -> None:
    made = launch(Vllm(Engine(), tmp_path, on_path(tmp_path, "vllm")), room=GPU)
    words = order(made)["command"]
    assert words[:3] == [str(tmp_path / "vllm"), "serve", "/models/qwen"]
    found = flags(words)
    assert found["--uds"] == made.address == "/run/w.sock"
    assert found["--served-model-name"] == made.served_as == "qwen:latest"
    assert found["--max-model-len"] == "8192"
    assert found["--tool-call-parser"] == "hermes"
    assert 0.05 <= float(found["--gpu-memory-utilization"]) < 0.3
    assert made.device_memory < 24 * GIB
    assert {"tools", "structured_outputs", "tokenize"} <= made.takes
    env = order(made)["env"]
    assert env["HF_HUB_OFFLINE"] == env["VLLM_NO_USAGE_STATS"] == "1"
    assert not {"SECRET_TOKEN", "PYTHONPATH"} & env.keys()
    assert "inhouse.engines.workers.command" in made.command


def test_sglang_listens_on_a_port_with_a_key_that_no_list_of_processes_shows(tmp_path: Path) -> None:
    made = launch(Sglang(Engine(), tmp_path, on_path(tmp_path, "sglang")), room=GPU)
    asked = order(made)
    found = flags(asked["command"])
    assert made.address == f"127.0.0.1:{found['--port']}"
    assert len(made.secret) == 64
    assert asked["files"]["config.yaml"] == f"api-key: {made.secret}\n"
    assert not [word for word in [*asked["command"], *made.command] if made.secret in word]
    assert made.secret not in asked["env"].values()
    assert found["--config"] == "{file:config.yaml}"
    assert found["--tool-call-parser"] == "qwen25"
    assert "regex" in made.takes


@pytest.mark.parametrize(
    ("kind", "name", "flag"), [(Vllm, "vllm", "--runner"), (Sglang, "sglang", "--is-embedding")]
)
def test_embeddings_templates_and_unknown_families(tmp_path: Path, kind: Any, name: str, flag: str) -> None:
    recipe = kind(Engine(), tmp_path, on_path(tmp_path, name))
    embedding = dataclasses.replace(CARD, capabilities=frozenset({"embedding"}))
    assert flag in order(launch(recipe, embedding, GPU))["command"]
    other = dataclasses.replace(CARD, family="mamba", own_template=True)
    made = launch(recipe, other, GPU)
    assert not {"tools", "tool_choice"} & made.takes
    assert "--tool-call-parser" not in order(made)["command"]
    assert order(made)["files"]["template.jinja"] == CARD.template
    assert flags(order(made)["command"])["--chat-template"] == "{file:template.jinja}"


@pytest.mark.parametrize(("kind", "name"), [(Vllm, "vllm"), (Sglang, "sglang")])
def test_without_command_or_gpu_the_reason_is_told(tmp_path: Path, kind: Any, name: str) -> None:
    with pytest.raises(Unsupported, match="PATH") as caught:
        launch(kind(Engine(), tmp_path, {"PATH": str(tmp_path)}), room=GPU)
    assert "Install" in caught.value.hint
    recipe = kind(Engine(), tmp_path, on_path(tmp_path, name))
    with pytest.raises(Unsupported, match="GPUs"):
        launch(recipe)
    with pytest.raises(BadRequest, match="safetensors"):
        launch(recipe, dataclasses.replace(CARD, format="gguf"), GPU)
    assert not recipe.can(dataclasses.replace(CARD, capabilities=frozenset({"rerank"})))
    own = tmp_path / "engines" / name / "bin"
    own.mkdir(parents=True)
    (own / "python").write_text("")
    (own / name).write_text("")
    module = {"vllm": vllm, "sglang": sglang}[name]
    assert module.find(Engine(), tmp_path, {"PATH": ""}).path == str(own / name)


def test_a_model_is_spread_over_as_few_gpus_as_hold_it() -> None:
    def plan(weights: int, *gpus: Gpu, context: int = 8192) -> Any:
        card = dataclasses.replace(CARD, footprint=Footprint(weights, 300_000))
        room = Room(0, 1, gpus)
        return gpu_plan(card, LoadOptions(context_length=context), Engine(), room, "it")

    assert plan(14 * GIB, H100).devices == 1
    big = plan(140 * GIB, H100, H100, H100, H100)
    assert big.devices == 4 or big.devices == 2
    assert big.devices * big.fraction * 80 * GIB >= 140 * GIB
    with pytest.raises(OutOfMemory, match="MiB"):
        plan(140 * GIB, H100)
    tight = plan(65 * GIB, H100, context=32768)
    assert 1024 <= tight.context < 32768
    other = Gpu("amd", "MI", 200 * GIB, 200 * GIB)
    with pytest.raises(OutOfMemory):
        plan(140 * GIB, H100, other)


# commands


def program(*words: str, **more: Any) -> Program:
    return Program("mine", (sys.executable, "{model}", *words), **more)


def test_placeholders_are_filled(tmp_path: Path) -> None:
    made = launch(
        Command(
            program(
                "--s={socket}", "{name}", "{context}/{slots}/{threads}", env={"A": "{name}", "B": "{{}}"}
            ),
            Engine(threads=3),
            os.environ,
        )
    )
    asked = order(made)
    assert asked["command"][1:] == ["/models/qwen", "--s=/run/w.sock", "qwen:latest", "32768/4/3"]
    assert (asked["env"]["A"], asked["env"]["B"]) == ("qwen:latest", "{}")
    assert (made.address, made.secret, made.notices) == ("/run/w.sock", "", ())
    assert made.takes == OPENAI
    assert made.memory > CARD.footprint.weights


def test_a_command_that_is_told_no_context_is_not_said_to_have_the_one_that_was_asked_for() -> None:
    def context(*words: str) -> int:
        recipe = Command(program("{socket}", *words, context_length=4096), Engine(), os.environ)
        return launch(recipe, context_length=100).context_length

    assert context("--context={context}") == 100
    assert context() == 4096


def test_a_port_is_made_up_with_a_key_where_there_is_a_place_for_one() -> None:
    bare = launch(Command(program("{port}"), Engine(), os.environ))
    assert order(bare)["command"][2] == bare.address.partition(":")[2]
    assert "without a key" in bare.notices[0]
    keyed = launch(Command(program("{host}:{port}", env={"K": "{key}"}), Engine(), os.environ))
    assert order(keyed)["command"][2] == keyed.address
    assert order(keyed)["env"]["K"] == keyed.secret
    assert len(keyed.secret) == 64
    assert not keyed.notices


def test_a_key_in_the_command_is_told_of_for_others_can_see_it() -> None:
    made = launch(Command(program("{port}", "--key={key}"), Engine(), os.environ))
    assert made.secret
    assert "list of processes" in made.notices[0]


def test_prompts_are_not_kept_for_other_keys_where_nothing_is_shared(tmp_path: Path) -> None:
    apart = Engine(prompt_sharing="none")
    recipe = Transformers(apart, installed(tmp_path), ENV)
    assert order(launch(recipe))["prompts"] == 0
    for kind, name, flag in (
        (Vllm, "vllm", "--no-enable-prefix-caching"),
        (Sglang, "sglang", "--disable-radix-cache"),
    ):
        environ = on_path(tmp_path, name)
        for settings, there in ((apart, True), (Engine(), False)):
            words = order(launch(kind(settings, tmp_path, environ), room=GPU))["command"]
            assert (flag in words) is there
    assert "INHOUSE_PROMPT_SHARING" in launch(Command(program("{socket}"), apart, os.environ)).notices[0]


def test_a_section_says_what_the_launch_is() -> None:
    made = launch(
        Command(
            program(
                "{socket}",
                takes=frozenset({"top_k"}),
                lacks=frozenset({"tools"}),
                ready="/v1/models",
                serves="default",
                context_length=100,
                slots=2,
                memory=5,
                start_timeout=7.0,
            ),
            Engine(),
            os.environ,
        ),
        context_length=5000,
    )
    assert (made.ready_path, made.served_as, made.ready_timeout) == ("/v1/models", "default", 7.0)
    assert (made.context_length, made.slots, made.memory) == (100, 2, 5)
    assert "top_k" in made.takes
    assert "tools" not in made.takes


def test_a_command_that_is_not_there_is_told_of() -> None:
    gone = Program("mine", ("/nowhere/server", "{model}", "{socket}"))
    with pytest.raises(Unsupported, match="not there") as caught:
        launch(Command(gone, Engine(), ENV))
    assert "[engines.mine]" in caught.value.hint


# which engine runs what


def engines(home: Path, *programs: Program, gpus: tuple[Gpu, ...] = (), path: str = "") -> Engines:
    machine = dataclasses.replace(detect(), gpus=gpus)
    others = (*command.others(programs), *registry.OTHERS)
    return Engines(Engine(kind="wheel"), state=home, environ={"PATH": path}, machine=machine, others=others)


def test_models_go_to_the_engine_that_is_theirs(tmp_path: Path) -> None:
    mine = Program("mine", (sys.executable, "{model}", "{socket}"), formats=("onnx",), models=("special*",))
    made = engines(tmp_path, mine)
    gguf = dataclasses.replace(CARD, format="gguf")
    assert made.of(gguf).name.startswith("llama.cpp")
    assert made.of(CARD).name in ("vllm", "sglang", "transformers")
    assert made.of(dataclasses.replace(CARD, format="onnx")).name == "mine"
    assert made.of(dataclasses.replace(gguf, name=ModelName.parse("special:1b"))).name == "mine"
    assert made.of(dataclasses.replace(gguf, tuning=Tuning(engine="mine"))).name == "mine"
    assert made.of(dataclasses.replace(CARD, tuning=Tuning(engine="vllm"))).name == "vllm"
    assert {one.name for one in made.available()} >= {"mine", "vllm", "sglang", "transformers"}


def test_servers_for_gpus_are_not_chosen_without_one(tmp_path: Path) -> None:
    on_path(tmp_path, "vllm")
    home = installed(tmp_path)
    assert engines(home, path=str(tmp_path)).of(CARD).name == "transformers"
    assert engines(home, path=str(tmp_path), gpus=(H100,)).of(CARD).name == "vllm"
    assert engines(home, gpus=(H100,)).of(CARD).name == "transformers"


# the worker that supervises a command


def test_files_are_private_and_stand_in_the_command(tmp_path: Path) -> None:
    told = {"command": ["x", "--f={file:a.txt}", "{file:b}"], "files": {"a.txt": "secret"}}
    assert worker.placed(told, str(tmp_path)) == ["x", f"--f={tmp_path / 'a.txt'}", "{file:b}"]
    assert (tmp_path / "a.txt").read_text() == "secret"
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o600


def test_the_order_of_a_server_is_whole() -> None:
    made = Server(["x"], {"A": "b"}, {"f": "g"}).launch({"PATH": "/bin", "PYTHONPATH": "/p", "TOKEN": "t"})
    asked = json.loads(made["stdin"])  # type: ignore[arg-type]
    assert asked["command"] == ["x"]
    assert asked["files"] == {"f": "g"}
    assert asked["env"]["A"] == "b"
    assert not {"PYTHONPATH", "TOKEN"} & asked["env"].keys()
    assert "TOKEN" not in made["env"]  # type: ignore[operator]
