"""Hard schemas on a real engine and model: what comes out is valid under the schema as the client wrote it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inhouse.config import Engine as Settings
from inhouse.core.engine import Launch
from inhouse.core.events import ChoiceEnd, TextDelta
from inhouse.core.messages import Format, Grammar, Message, Sampling, Text
from inhouse.core.models import Card, ModelName
from inhouse.core.requests import Chat, LoadOptions
from inhouse.engines.llamacpp import LlamaCpp, wheel
from inhouse.engines.recipe import Room
from inhouse.grammar import Validator, check
from inhouse.store.store import Store
from inhouse.upstream import WorkerEngine
from support.models import SMALL, model_home

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

WORD = {"type": "string", "maxLength": 12}

SCHEMAS: dict[str, dict[str, Any]] = {
    "merged recursion": {
        "$ref": "#/$defs/n", "required": ["v"],
        "$defs": {"n": {"type": "object", "properties": {"v": WORD, "n": {"$ref": "#/$defs/m"}}, "additionalProperties": False},
                  "m": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}},
    },
    "oneOf by presence": {
        "type": "object", "properties": {"cat": WORD, "dog": WORD}, "additionalProperties": False,
        "oneOf": [{"required": ["cat"]}, {"required": ["dog"]}],
    },
    "oneOf by constant": {
        "oneOf": [
            {"type": "object", "properties": {"k": {"const": k}, "v": v}, "required": ["k", "v"], "additionalProperties": False}
            for k, v in (("number", {"type": "integer", "minimum": -5, "maximum": 5}), ("text", WORD))
        ]
    },
    "if then else": {
        "type": "object", "properties": {"pet": {"enum": ["cat", "fish"]}, "legs": {"const": 4}, "fins": {"const": 2}},
        "required": ["pet"], "additionalProperties": False,
        "if": {"properties": {"pet": {"const": "cat"}}}, "then": {"required": ["legs"]}, "else": {"required": ["fins"]},
    },
    "not enum": {"type": "object", "properties": {"a": {**WORD, "not": {"enum": ["", "a", "the"]}}}, "required": ["a"],
                 "additionalProperties": False},
    "unique tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "uniqueItems": True, "minItems": 2},
    "dates": {"type": "array", "items": {"type": "string", "format": "date"}, "minItems": 2, "maxItems": 2},
    "pattern without quotes": {"type": "array", "items": {"type": "string", "pattern": r'^[^"\\]{1,9}$'}, "maxItems": 3},
    "typed map": {"type": "object", "properties": {"a": WORD}, "required": ["a"], "maxProperties": 2,
                  "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 9}},
    "dependent": {"type": "object", "properties": {"a": WORD, "b": WORD}, "additionalProperties": False,
                  "dependentRequired": {"a": ["b"]}, "minProperties": 1},
    "draft 4": {"$schema": "http://json-schema.org/draft-04/schema#", "type": "array", "maxItems": 2, "minItems": 1,
                "items": {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "maximum": 20, "multipleOf": 3}},
    "patterns that overlap": {"type": "object", "minProperties": 1, "maxProperties": 1,
                              "patternProperties": {"^a[a-z]{0,4}$": {"type": "integer", "maximum": 50, "minimum": 0},
                                                    "^[a-z]{0,4}z$": {"type": "integer", "maximum": 9, "minimum": 0}},
                              "additionalProperties": False},
}  # fmt: skip


@pytest.fixture(scope="module")
def worker() -> Iterator[tuple[Card, Launch]]:
    store = Store(model_home(SMALL))
    card = next(card for card in store.cards() if card.name.key == ModelName.parse(SMALL).key)
    recipe = LlamaCpp(Settings(kind="wheel", slots=2, context_length=1024), wheel(), os.environ)
    with tempfile.TemporaryDirectory(prefix="ih-") as folder:
        address = str(Path(folder) / "w.sock")
        launch = recipe.launch(card, LoadOptions(), room=Room(4 * 2**30, 2), address=address, secret="")
        process = subprocess.Popen(
            launch.command,
            env=launch.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin is not None
        process.stdin.write(launch.stdin)
        process.stdin.flush()
        try:
            yield card, launch
        finally:
            process.terminate()
            process.wait(20)
            process.stdin.close()


@pytest.fixture
async def engine(worker: tuple[Card, Launch]) -> AsyncIterator[WorkerEngine]:
    card, launch = worker
    until = time.monotonic() + 120
    connector = aiohttp.UnixConnector(launch.address)
    async with aiohttp.ClientSession(connector=connector) as session:
        while time.monotonic() < until:
            try:
                async with session.get("http://worker/health") as answer:
                    if answer.status == 200:
                        break
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    found = WorkerEngine(card, launch)
    yield found
    await found.close()


async def say(engine: WorkerEngine, wanted: Format, seed: int) -> tuple[str, str]:
    """The answer and how it ended."""
    chat = Chat(
        model=SMALL,
        messages=(Message("user", (Text("Write some JSON about pets."),)),),
        format=wanted,
        sampling=Sampling(temperature=1.0, max_tokens=160, seed=seed),
    )
    text, end = "", ""
    async with aclosing(engine.run(chat)) as events:
        async for event in events:
            text += event.text if isinstance(event, TextDelta) else ""
            end = event.reason if isinstance(event, ChoiceEnd) else end
    return text, end


@pytest.mark.parametrize("name", SCHEMAS)
async def test_what_a_model_says_is_valid(
    engine: WorkerEngine, worker: tuple[Card, Launch], name: str
) -> None:
    schema = SCHEMAS[name]
    wanted = check(Format("schema", schema), worker[1].grammars)
    said = [await say(engine, wanted, seed) for seed in (1, 2)]
    whole = [text for text, end in said if end == "stop"]
    assert whole, said
    for text in whole:
        assert Validator(schema).valid(text) is None, text


async def test_grammars_are_kept_by_the_engine(engine: WorkerEngine, worker: tuple[Card, Launch]) -> None:
    for kind, text in (
        ("regex", "(cat|dog){2}"),
        ("lark", 'start: "cat" | "dog"'),
        ("gbnf", 'root ::= "cat" | "dog"'),
    ):
        wanted = check(Format("grammar", grammar=Grammar(kind, text)), worker[1].grammars)  # type: ignore[arg-type]
        said, end = await say(engine, wanted, 3)
        assert end == "stop"
        assert said.strip() in ("cat", "dog", "catcat", "catdog", "dogcat", "dogdog")
