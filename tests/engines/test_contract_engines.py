"""The contract over the engines that need no weights: the fake, a command of the operator's, and what was
recorded of vLLM and SGLang."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from pathlib import Path

import pytest

from engines.contract import GPU_ROOM, Bench, EngineContract
from inhouse.config import Engine, Program
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.engines.command import Command
from inhouse.engines.fake import FakeRecipe
from inhouse.engines.sglang import Sglang
from inhouse.engines.vllm import Vllm

TINY = Path(__file__).parent.parent / "support" / "tiny_openai.py"
CARD = Card(
    name=ModelName.parse("tiny"),
    digest="1" * 64,
    weights="/models/tiny",
    weights_digest="1" * 64,
    size=2**20,
    footprint=Footprint(2**20, 64),
    capabilities=frozenset({"completion", "chat"}),
    format="safetensors",
    family="qwen2",
    quantization="BF16",
    context_length=512,
)


def called(folder: Path, name: str) -> dict[str, str]:
    """An environment on whose PATH ``name`` is the tiny server, slow to get ready."""
    script = folder / name
    script.write_text(
        f"#!{sys.executable}\nimport os, runpy, sys\nos.environ['TINY_DELAY'] = '0.3'\n"
        f"sys.path.insert(0, {str(TINY.parent.parent)!r})\n"
        f"from support import tiny_openai\ntiny_openai.main()\n"
    )
    script.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


class TestFake(EngineContract):
    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls) -> Bench:
        recipe = FakeRecipe({"rate": 200, "tokens": 300})
        return Bench(recipe, recipe.cards()[0])


class TestCommandOnASocket(EngineContract):
    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls) -> Bench:
        command = [
            sys.executable,
            str(TINY),
            "--socket",
            "{socket}",
            "--model",
            "{name}",
            "--context",
            "{context}",
        ]
        return Bench(Command(Program("mine", tuple(command)), Engine(), os.environ), CARD)


class TestCommandOnAPort(EngineContract):
    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls) -> Bench:
        line = f"{sys.executable} {TINY} --port {{port}} --model {{model}} --slots {{slots}} --context {{context}}"
        program = Program(
            "mine",
            tuple(shlex.split(line)),
            env={"TINY_KEY": "{key}"},
            serves="{model}",
            ready="/v1/models",
            lacks=frozenset({"n"}),
            slots=2,
        )
        return Bench(Command(program, Engine(), os.environ), CARD)


class TestRecordedVllm(EngineContract):
    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls, tmp_path_factory: pytest.TempPathFactory) -> Bench:
        folder = tmp_path_factory.mktemp("vllm")
        card = dataclasses.replace(
            CARD, capabilities=CARD.capabilities | {"tools"}, template="t", own_template=True
        )
        return Bench(Vllm(Engine(slots=4), folder, called(folder, "vllm")), card, GPU_ROOM)


class TestRecordedSglang(EngineContract):
    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls, tmp_path_factory: pytest.TempPathFactory) -> Bench:
        folder = tmp_path_factory.mktemp("sglang")
        return Bench(Sglang(Engine(slots=4), folder, called(folder, "sglang")), CARD, GPU_ROOM)
