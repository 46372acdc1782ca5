"""What does a token cost in each dialect? Microseconds for one event in a streaming encoder, and for one
chunk of the worker in the decoder that every token passes.

usage: python bench/encoders.py [--tokens 20000] [--rounds 9]

Target: under 10 µs a token in every dialect. Ends with status 1 where one misses it. A dialect that this
build does not have is listed as such.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

from common import hardware, shown

from inhouse.core.events import (
    ChoiceEnd,
    Finished,
    ReasoningDelta,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)
from inhouse.core.usage import Timings, Usage

TARGET = 10.0
WORDS = (" the", " quick", "\n", " “größer”", " fox", ' "x":', " 42", " 狐")
MESSAGES = [{"role": "user", "content": "hi"}]
CHAT = {"model": "m", "messages": MESSAGES, "stream": True}
THINKING = {"type": "enabled", "budget_tokens": 2048}

Make = Callable[[], Any]
"""Gives a fresh streaming encoder."""


def decoded(module: str, function: str, body: dict[str, Any]) -> Make:
    """The encoder that a dialect chooses for this body."""
    decode = getattr(importlib.import_module(f"inhouse.dialects.{module}"), function)
    raw = json.dumps(body).encode()
    return lambda: decode(raw).encoder


def responses() -> Make:
    """The encoder of OpenAI's Responses, whose order is not decoded to one in a single step."""
    found = importlib.import_module("inhouse.dialects.openai.responses")
    raw = json.dumps({"model": "m", "input": "hi", "stream": True}).encode()

    def make() -> Any:
        order = found.decode_create(raw)
        head = found.Head(order.echo, store=False)
        return found.ResponseEncoder(head, order.offers, found.Style(streaming=True))

    return make


def dialects() -> dict[str, Callable[[], Make]]:
    """By name; whoever calls one may find that it is not there (ImportError, AttributeError)."""
    generate = {"model": "m", "prompt": "p", "stream": True}
    return {
        "openai chat": lambda: decoded("openai", "decode_chat", CHAT),
        "openai chat, usage": lambda: decoded(
            "openai", "decode_chat", CHAT | {"stream_options": {"include_usage": True}}
        ),
        "openai completions": lambda: decoded("openai", "decode_completions", generate),
        "openai responses": responses,
        "anthropic messages": lambda: decoded(
            "anthropic", "decode_messages", CHAT | {"max_tokens": 9999, "thinking": THINKING}
        ),
        "ollama chat": lambda: decoded("ollama", "decode_chat", CHAT),
        "ollama generate": lambda: decoded("ollama", "decode_generate", generate),
    }


def text(count: int) -> list[Any]:
    return [TextDelta(WORDS[i % len(WORDS)]) for i in range(count)]


def reasoning(count: int) -> list[Any]:
    return [ReasoningDelta(WORDS[i % len(WORDS)]) for i in range(count)]


def arguments(count: int) -> list[Any]:
    pieces = ['{"words": "', *(WORDS[i % 2] for i in range(count - 2)), '"}']
    first = ToolCallDelta(0, pieces[0], "call_1", "tell")
    return [first, *(ToolCallDelta(0, piece) for piece in pieces[1:])]


def logprobs(count: int) -> list[Any]:
    out = []
    for i in range(count):
        word = WORDS[i % len(WORDS)]
        top = tuple(TopLogprob(other, -1.5, other.encode()) for other in WORDS[:5])
        out.append(TextDelta(word, 0, (TokenLogprob(word, -0.25, word.encode(), top),)))
    return out


def encode(make: Make, events: list[Any], reason: str) -> float:
    """Microseconds for each of ``events``, without what begins and ends an answer."""
    encoder = make()
    feed = encoder.feed
    feed(Started())
    feed(events[0])
    began = time.perf_counter()
    for event in events[1:]:
        feed(event)
    spent = time.perf_counter() - began
    feed(ChoiceEnd(reason))  # type: ignore[arg-type]
    if not feed(Finished(Usage(1, len(events)), Timings())):
        raise SystemExit("the answer did not end")
    return spent / (len(events) - 1) * 1e6


def decode(chunks: list[bytes]) -> float:
    """Microseconds for each of the worker's ``chunks`` in a decoder."""
    found = importlib.import_module("inhouse.dialects.llamaserver")
    decoder = found.ChatDecoder(found.Reading())
    began = time.perf_counter()
    events = sum(len(decoder.feed(chunk)) for chunk in chunks)
    spent = time.perf_counter() - began
    if events < len(chunks):
        raise SystemExit("the decoder lost text")
    return spent / len(chunks) * 1e6


def chunk(word: str, *, top: bool = False) -> bytes:
    """A chunk as llama-server writes it while it streams a chat."""
    choice: dict[str, Any] = {"finish_reason": None, "index": 0, "delta": {"content": word}}
    if top:
        one = {"id": 5, "token": word, "bytes": list(word.encode()), "logprob": -0.25}
        choice["logprobs"] = {"content": [one | {"top_logprobs": [one] * 5}]}
    body = {
        "choices": [choice],
        "created": 1767693600,
        "id": "chatcmpl-8TnYdkZ0kvVYJ4oDVh9CTwJBZ7Y9S6pQ",
        "model": "m",
        "system_fingerprint": "b11549",
        "object": "chat.completion.chunk",
    }
    return b"data: " + json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def measure(name: str, once: Callable[[], float], rounds: int, *, target: bool = True) -> bool:
    """Print a line; whether the target is met."""
    once()
    values = [once() for _ in range(rounds)]
    good = statistics.median(values) < TARGET
    verdict = ("pass" if good else "FAIL") if target else "-"
    print(f"{name:<42}{shown(values):>26}  {verdict}")
    return good or not target


def encoders(tokens: int, rounds: int) -> Iterable[bool]:
    kinds = (("text", text, "stop"), ("thoughts", reasoning, "stop"), ("arguments", arguments, "tool_calls"))
    for name, find in dialects().items():
        try:
            make = find()
            make()
        except (ImportError, AttributeError) as error:
            print(f"{name:<42}{'not in this build':>26}  - ({error})")
            continue
        for kind, events_of, reason in kinds:
            if kind != "text" and name in ("openai completions", "ollama generate"):
                continue  # a raw completion calls nothing and thinks nothing
            events = events_of(tokens)
            yield measure(f"{name}: {kind}", lambda m=make, e=events, r=reason: encode(m, e, r), rounds)  # type: ignore[misc]
    wanted = decoded("openai", "decode_chat", CHAT | {"logprobs": True, "top_logprobs": 5})
    events = logprobs(tokens // 4)
    measure(
        "openai chat: text, 5 logprobs each", lambda: encode(wanted, events, "stop"), rounds, target=False
    )


def decoders(tokens: int, rounds: int) -> Iterable[bool]:
    chunks = [chunk(WORDS[i % len(WORDS)]) for i in range(tokens)]
    yield measure("llamaserver: text", lambda: decode(chunks), rounds)
    rich = [chunk(WORDS[i % len(WORDS)], top=True) for i in range(tokens // 4)]
    measure("llamaserver: text, 5 logprobs each", lambda: decode(rich), rounds, target=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    print(hardware())
    print(
        f"\n{'µs a token, ' + str(args.tokens) + ' tokens':<42}{'median (least .. most)':>26}  under {TARGET:g}"
    )
    good = [*encoders(args.tokens, args.rounds), *decoders(args.tokens, args.rounds)]
    if not all(good):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
