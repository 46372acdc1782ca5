"""Chunks of llama-server's two streams, as bytes. Shapes: llama.cpp tools/server/server-task.cpp."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, cycle, islice
from typing import Any, Protocol

from .fake_script import Recital, Script
from .fake_text import PROSE, Vocabulary


def dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def sse(value: Any) -> bytes:
    return b"data: " + dumps(value) + b"\n\n"


@dataclass(slots=True)
class Count:
    """What one request used: tokens, and seconds of the two phases. ``per_choice`` tokens written."""

    prompt: int
    cached: int
    per_choice: int = 0
    prefill: float = 0.0
    decode: float = 0.0

    def timings(self) -> dict[str, Any]:
        fresh, prefill, decode = self.prompt - self.cached, self.prefill * 1e3, self.decode * 1e3
        return {
            "cache_n": self.cached,
            "prompt_n": fresh,
            "prompt_ms": prefill,
            "prompt_per_second": fresh / self.prefill if self.prefill else 0.0,
            "predicted_n": self.per_choice,
            "predicted_ms": decode,
            "predicted_per_second": self.per_choice / self.decode if self.decode else 0.0,
        }

    def progress(self, part: float) -> dict[str, Any]:
        done = self.cached + round((self.prompt - self.cached) * part)
        spent = round(self.prefill * part * 1e3)
        return {"total": self.prompt, "cache": self.cached, "processed": done, "time_ms": spent}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request wants to see in its stream; ``prompt`` tokens were asked."""

    choices: int = 1
    logprobs: int | None = None
    progress: bool = False
    usage: bool = False
    tokens: bool = False
    timings: bool = False
    prompt: int = 0
    model: str = "fake"


def _logprob(piece: str, vocabulary: Vocabulary, alternatives: int) -> dict[str, Any]:
    """A made-up but steady distribution: the token at 1/2, the alternatives at 1/4, 1/8 ..."""
    rivals = [p for p in dict.fromkeys(vocabulary.pieces(PROSE)) if p != piece]

    def entry(text: str, place: int) -> dict[str, Any]:
        return {
            "id": vocabulary.id(text),
            "token": text,
            "bytes": list(text.encode()),
            "logprob": -0.6931471805599453 * (place + 1),
        }

    top = [entry(text, place) for place, text in enumerate([piece, *rivals][:alternatives])]
    return {**entry(piece, 0), "top_logprobs": top}


class Wire(Protocol):
    """One of the two streams: the bytes of each moment of an answer."""

    def progress(self, state: dict[str, Any]) -> bytes: ...
    def opening(self) -> bytes: ...
    def tokens(self) -> Iterator[bytes]: ...
    def closing(self, count: Count) -> bytes: ...


class ChatWire:
    """``/v1/chat/completions``."""

    def __init__(self, script: Script, recital: Recital, vocabulary: Vocabulary, asked: Asked) -> None:
        self._script, self._recital, self._vocabulary, self._asked = script, recital, vocabulary, asked
        self._rest = {
            "created": int(time.time()),
            "id": "chatcmpl-fake",
            "model": asked.model,
            "system_fingerprint": "fake",
            "object": "chat.completion.chunk",
        }

    def _delta(self, index: int, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"finish_reason": reason, "index": index, "delta": delta}
        return {"choices": [choice], **self._rest}

    def progress(self, state: dict[str, Any]) -> bytes:
        if not self._asked.progress:
            return b""
        return sse({**self._delta(0, {"role": "assistant", "content": None}), "prompt_progress": state})

    def opening(self) -> bytes:
        start = {"role": "assistant", "content": None}
        return b"".join(sse(self._delta(i, start)) for i in range(self._asked.choices))

    def tokens(self) -> Iterator[bytes]:
        """One frame for each token of each choice, choices in turn."""
        indexes = range(self._asked.choices)
        thoughts = self._vocabulary.pieces(self._script.reasoning)
        thinking = [sse(self._delta(i, {"reasoning_content": p})) for p in thoughts for i in indexes]
        saying = [self._content(i, piece) for piece in self._recital.pieces for i in indexes]
        words = islice(cycle(saying), self._recital.count * self._asked.choices)
        said = chain(thinking, words, self._call())
        return self._timed(said) if self._asked.timings else said

    def _timed(self, frames: Iterator[bytes]) -> Iterator[bytes]:
        """Frames that tell how many tokens their choice has by now."""
        width = self._asked.choices
        for number, frame in enumerate(frames):
            count = Count(self._asked.prompt, 0, number // width + 1)
            yield frame[:-3] + b',"timings":' + dumps(count.timings()) + b"}\n\n"

    def _content(self, index: int, piece: str) -> bytes:
        chunk = self._delta(index, {"content": piece})
        if self._asked.logprobs is not None:
            entry = _logprob(piece, self._vocabulary, self._asked.logprobs)
            chunk["choices"][0]["logprobs"] = {"content": [entry]}
        return sse(chunk)

    def _call(self) -> list[bytes]:
        call = self._script.tool_call
        if call is None:
            return []
        arguments = call.get("arguments", {})
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        head = {"id": "call_fake", "type": "function", "function": {"name": call["name"], "arguments": ""}}
        deltas = [{"index": 0, **head}]
        deltas += [{"index": 0, "function": {"arguments": piece}} for piece in self._vocabulary.pieces(text)]
        return [sse(self._delta(i, {"tool_calls": [d]})) for d in deltas for i in range(self._asked.choices)]

    def closing(self, count: Count) -> bytes:
        reason = "length" if self._recital.end == "limit" else "stop"
        if self._script.tool_call is not None and reason == "stop":
            reason = "tool_calls"
        ends = [self._delta(i, {}, reason) for i in range(self._asked.choices)]
        if self._asked.choices > 1 or not self._asked.usage:
            ends = [{**end, "timings": count.timings()} for end in ends]
        if self._asked.usage:
            usage = {
                "completion_tokens": count.per_choice,
                "prompt_tokens": count.prompt,
                "total_tokens": count.per_choice + count.prompt,
                "prompt_tokens_details": {"cached_tokens": count.cached},
            }
            ends.append({"choices": [], **self._rest, "usage": usage, "timings": count.timings()})
        return b"".join(map(sse, ends)) + b"data: [DONE]\n\n"


class CompletionWire:
    """``/completion`` and ``/infill``, llama.cpp's own."""

    def __init__(self, recital: Recital, vocabulary: Vocabulary, asked: Asked) -> None:
        self._recital, self._vocabulary, self._asked = recital, vocabulary, asked

    def _part(self, index: int, content: str, tokens: list[int]) -> dict[str, Any]:
        return {"index": index, "content": content, "tokens": tokens, "stop": False, "id_slot": 0}

    def progress(self, state: dict[str, Any]) -> bytes:
        if not self._asked.progress:
            return b""
        return sse({**self._part(0, "", []), "prompt_progress": state})

    def opening(self) -> bytes:
        return b""

    def tokens(self) -> Iterator[bytes]:
        indexes = range(self._asked.choices)
        saying = [self._content(i, piece) for piece in self._recital.pieces for i in indexes]
        frames = islice(cycle(saying), self._recital.count * self._asked.choices)
        width, told = self._asked.choices, f',"tokens_evaluated":{self._asked.prompt}}}\n\n'.encode()
        for number, frame in enumerate(frames):
            yield frame[:-3] + b',"tokens_predicted":%d' % (number // width + 1) + told

    def _content(self, index: int, piece: str) -> bytes:
        ids = [self._vocabulary.id(piece)] if self._asked.tokens else []
        chunk = self._part(index, piece, ids)
        if self._asked.logprobs:
            chunk["completion_probabilities"] = [_logprob(piece, self._vocabulary, self._asked.logprobs)]
        return sse(chunk)

    def closing(self, count: Count) -> bytes:
        end = {
            "content": "",
            "tokens": [],
            "id_slot": 0,
            "stop": True,
            "model": self._asked.model,
            "tokens_predicted": count.per_choice,
            "tokens_evaluated": count.prompt,
            "truncated": False,
            "stop_type": self._recital.end,
            "stopping_word": self._recital.stopping_word,
            "tokens_cached": count.prompt + count.per_choice,
            "timings": count.timings(),
        }
        return b"".join(sse({"index": i, **end}) for i in range(self._asked.choices))
