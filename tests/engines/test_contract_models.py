"""The contract over the engines that compute: llama.cpp as wheel and native build, and transformers."""

from __future__ import annotations

import base64
import json
import math
import os
import shutil
import struct
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from engines.contract import Bench, EngineContract, Yard, chat, text_of
from inhouse.config import Engine
from inhouse.core.events import ChoiceEnd, Finished, TextDelta, Vector
from inhouse.core.messages import Format, Grammar, Message, Sampling, Text
from inhouse.core.models import Card
from inhouse.core.requests import Chat, Complete, Embed, LoadOptions, Render, Request, Tokenize
from inhouse.engines import llamacpp, native
from inhouse.engines.llamacpp import LlamaCpp
from inhouse.engines.transformers import Transformers
from inhouse.store.store import Store
from support import safetensors_engine
from support.models import SMALL, model_home

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]

SETTINGS = Engine(slots=2, context_length=512)
NATIVE = "INHOUSE_TEST_LLAMA_SERVER"
REFERENCE = Path(__file__).parent.parent / "upstream" / "minilm_reference.json"


def small() -> Card:
    """SmolLM2 as GGUF."""
    [card] = [card for card in Store(model_home(SMALL)).cards() if card.name.model.lower() == SMALL]
    return card


class TestWheel(EngineContract):
    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls) -> Bench:
        return Bench(LlamaCpp(SETTINGS, llamacpp.wheel(), os.environ), small())


class TestNative(EngineContract):
    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls) -> Bench:
        found = native.find(os.environ.get(NATIVE) or shutil.which("llama-server") or "", os.environ)
        if not found.ok:
            pytest.skip(f"no native llama-server: {found.why} (name one with {NATIVE})")
        return Bench(LlamaCpp(SETTINGS, found, os.environ), small())


class TestTransformers(EngineContract):
    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls) -> Bench:
        recipe = Transformers(SETTINGS, safetensors_engine.home(), os.environ)
        return Bench(recipe, safetensors_engine.talker())

    async def ask(self, yard: Yard, request: Request) -> list[Any]:
        async with yard.lease() as lease, aclosing(lease.engine.run(request)) as events:
            return [event async for event in events]

    async def test_an_answer_is_held_to_its_grammar(self, yard: Yard) -> None:
        grammar = Grammar("regex", "(bat|bed)( wos)+ zzz|cop")
        wanted = Format("grammar", grammar=grammar, param="format")
        dice = Sampling(temperature=2.0, seed=3, max_tokens=8)
        assert text_of(await self.ask(yard, chat("bat", format=wanted, sampling=dice))) == "cop"

    async def test_log_probabilities_are_told(self, yard: Yard) -> None:
        request = Complete(
            model="m",
            prompts=("bat",),
            sampling=Sampling(temperature=0.0, max_tokens=4),
            logprobs=2,
            echo=True,
        )
        events = await self.ask(yard, request)
        assert text_of(events).startswith("bat")
        told = [t for e in events if isinstance(e, TextDelta) for t in e.logprobs]
        assert len(told) == 4
        assert all(len(t.top) == 2 and t.logprob == t.top[0].logprob <= 0 for t in told)

    async def test_a_prompt_that_is_known_is_not_read_again(self, yard: Yard) -> None:
        words = "bat bed bin bop bun bal ber bos " * 8
        greedy = Sampling(temperature=0.0, max_tokens=3)
        first, second = [await self.ask(yard, chat(words, sampling=greedy)) for _ in range(2)]
        assert text_of(first) == text_of(second)
        counts = [events[-1].usage.cached_tokens for events in (first, second)]
        assert counts[0] == 0
        assert counts[1] > 40

    async def test_an_answer_goes_on_where_an_assistant_ended(self, yard: Yard) -> None:
        messages = (Message("user", (Text("bat"),)), Message("assistant", (Text("bed bin"),)))
        request = Chat(model="m", messages=messages, sampling=Sampling(temperature=0.0, max_tokens=2))
        events = await self.ask(yard, request)
        assert [e.reason for e in events if isinstance(e, ChoiceEnd)] == ["length"]

    async def test_tokens_are_counted(self, yard: Yard) -> None:
        [tokens] = [e for e in await self.ask(yard, Tokenize(model="m", text="bat bed")) if hasattr(e, "ids")]
        assert tokens.ids
        rendered = await self.ask(yard, Render(model="m", chat=chat("bat bed")))
        greedy = Sampling(temperature=0.0, max_tokens=1)
        said = await self.ask(yard, chat("bat bed", sampling=greedy))
        assert rendered[-1].usage.prompt_tokens == said[-1].usage.prompt_tokens > 3


class TestTransformersEmbeddings:
    async def test_vectors_are_those_of_sentence_transformers(self) -> None:
        recipe = Transformers(SETTINGS, safetensors_engine.home(), os.environ)
        yard = Yard(Bench(recipe, safetensors_engine.embedder(), options=LoadOptions()))
        known = json.loads(REFERENCE.read_text("utf-8"))["embeddings"]
        try:
            async with yard.lease() as lease:
                texts = tuple(one["text"] for one in known)
                async with aclosing(lease.engine.run(Embed(model="m", inputs=texts, truncate=True))) as found:
                    events = [event async for event in found]
        finally:
            await yard.close()
        vectors = [event for event in events if isinstance(event, Vector)]
        assert [vector.index for vector in vectors] == list(range(len(known)))
        for vector, one in zip(vectors, known, strict=True):
            packed = base64.b64decode(one["vector"])
            wanted = struct.unpack(f"<{len(packed) // 2}e", packed)
            length = math.sqrt(sum(x * x for x in wanted))
            assert sum(a * b for a, b in zip(vector.values, wanted, strict=True)) / length > 0.999, one[
                "text"
            ]
        assert isinstance(events[-1], Finished)
        assert events[-1].usage.prompt_tokens == sum(one["tokens"] for one in known)
