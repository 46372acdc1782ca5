"""A server with a real model: prompts that outlive it, and adapters that need no reload."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import random
import subprocess
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest

from inhouse.config import Engine as Settings
from inhouse.core.events import TextDelta
from inhouse.core.messages import Message, Sampling, Text
from inhouse.core.requests import Chat, LoadOptions
from inhouse.engines.llamacpp import LlamaCpp, wheel
from inhouse.engines.recipe import Room
from inhouse.store.store import Store
from inhouse.upstream import WorkerEngine
from support.lora import lora
from support.models import SMALL, borrowed_home
from support.running import Answer, Server, until

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "while",
    "rain",
    "fell",
    "over",
    "green",
    "hills",
    "and",
    "people",
    "walked",
    "along",
    "quiet",
    "roads",
]
RULES = " ".join(random.Random(7).choice(WORDS) for _ in range(600))
MINIMUM = 256


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("prefixes")
    for seed in (1, 2):
        lora(folder / f"lora{seed}.gguf", width=576, layers=range(30), strength=2.0, seed=seed)
    running = Server(
        borrowed_home(folder / "home", SMALL),
        {
            "INHOUSE_ENGINE": "wheel",
            "INHOUSE_SLOTS": "3",
            "INHOUSE_CONTEXT_LENGTH": "2048",
            "INHOUSE_MODEL_FOLDERS": str(folder),
        },
    )
    running.start()
    for seed in (1, 2):
        make(running, f"tuned{seed}", folder / f"lora{seed}.gguf")
    yield running
    running.stop()


def make(server: Server, name: str, adapter: Path) -> None:
    digest = "sha256:" + hashlib.sha256(adapter.read_bytes()).hexdigest()
    assert server.ask("POST", f"/api/blobs/{digest}", adapter.read_bytes()).status == 201
    body = {"model": name, "from": SMALL, "adapters": {adapter.name: digest}}
    answer = server.ask("POST", "/api/create", body, timeout=120)
    assert answer.status == 200, answer.body
    assert answer.lines[-1]["status"] == "success"


def ask(server: Server, question: str, *, model: str = SMALL, system: str = "", **more: Any) -> Answer:
    messages = [{"role": "user", "content": question}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 12, **more}
    answer = server.ask("POST", "/v1/chat/completions", body, timeout=120)
    assert answer.status == 200, answer.body
    return answer


def text(answer: Answer) -> str:
    return str(answer.json["choices"][0]["message"]["content"])


def cached(answer: Answer) -> int:
    return int(answer.json["usage"]["prompt_tokens_details"]["cached_tokens"])


def saved(server: Server) -> list[Path]:
    return list((server.home / "prefixes").rglob("*.json"))


def workers(server: Server) -> set[int]:
    """The processes of the engine that run now."""
    assert server.process is not None
    children = psutil.Process(server.process.pid).children(recursive=True)
    return {child.pid for child in children if any("workers.llamacpp" in part for part in child.cmdline())}


def test_a_known_beginning_is_read_in_after_a_restart_and_answers_stay_the_same(server):
    cold = ask(server, "Who walks?", system=RULES)
    assert cached(cold) < MINIMUM
    ask(server, "Who sits?", system=RULES)
    until(lambda: saved(server), 20, "a save")
    server.stop()
    server.start()
    warm = ask(server, "Who walks?", system=RULES)
    assert cached(warm) > 500
    assert text(warm) == text(cold)
    told = server.ask("GET", f"/api/why/{warm.headers['x-request-id']}").json
    assert "restore" in str(told)
    harmed = saved(server)[0].with_suffix(".kv")
    harmed.write_bytes(harmed.read_bytes()[:-1000])
    server.stop()
    server.start()
    again = ask(server, "Who walks?", system=RULES)
    assert cached(again) < MINIMUM
    assert text(again) == text(cold)


async def test_adapters_alternate_on_one_worker_and_answer_as_if_loaded_alone(server, tmp_path):
    question = "Tell me about rain in the hills."
    base, one, two = (text(ask(server, question, model=m)) for m in (SMALL, "tuned1", "tuned2"))
    assert len({base, one, two}) == 3
    before = workers(server)
    assert len(before) == 1
    for _ in range(2):
        assert text(ask(server, question)) == base
        assert text(ask(server, question, model="tuned1")) == one
        assert text(ask(server, question, model="tuned2")) == two
    attach = [{"name": "tuned1"}]
    assert text(ask(server, question, adapters=attach)) == one
    off = [{"name": "tuned1", "scale": 0}]
    assert text(ask(server, question, model="tuned1", adapters=off)) == base
    assert workers(server) == before
    vector = server.ask("POST", "/v1/embeddings", {"model": "tuned1", "input": question}, timeout=60)
    assert vector.status == 200, "its own worker, which has the adapter on"
    assert await alone(server, question, tmp_path) == one


async def alone(server: Server, question: str, folder: Path) -> str:
    """What a worker says that was started with the adapter switched on and shares nothing."""
    card = next(card for card in Store(server.home).cards() if card.name.model == "tuned1")
    recipe = LlamaCpp(Settings(kind="wheel", slots=3, context_length=2048), wheel(), {})
    room = Room(4 * 2**30, 2)
    launch = recipe.launch(card, LoadOptions(), room=room, address=str(folder / "w.sock"), secret="")
    process = subprocess.Popen(
        launch.command, env=launch.env, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    process.stdin.write(launch.stdin)
    process.stdin.flush()
    engine = WorkerEngine(card, dataclasses.replace(launch, adapters=()))
    try:
        while not await engine.healthy(1.0):
            assert process.poll() is None
            await asyncio.sleep(0.05)
        messages = (Message("user", (Text(question),)),)
        request = Chat(model="m", messages=messages, sampling=Sampling(temperature=0, max_tokens=12))
        async with aclosing(engine.run(request)) as events:
            return "".join([event.text async for event in events if isinstance(event, TextDelta)])
    finally:
        await engine.close()
        process.kill()
        process.wait(10)
        process.stdin.close()


@pytest.mark.parametrize(
    "adapters, param",
    [([{"name": SMALL}], "adapters[0].name"), ([{"scale": 1}], "adapters[0].name"), ("x", "adapters")],
)
def test_what_cannot_be_attached_is_refused_by_its_field(server, adapters, param):
    body = {"model": SMALL, "messages": [{"role": "user", "content": "x"}], "adapters": adapters}
    answer = server.ask("POST", "/v1/chat/completions", body)
    assert answer.status == 400
    assert answer.json["error"]["param"] == param
