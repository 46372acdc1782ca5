"""The lines llama-server streams, as typed records; only the fields that are read."""

from __future__ import annotations

from typing import Any

import msgspec

from ...core.errors import EngineError
from ...core.events import TokenLogprob, TopLogprob


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None


class Alternative(msgspec.Struct):
    id: int = -1
    token: str = ""
    logprob: float | None = None
    bytes: list[int] | None = None


class Probability(Alternative):
    top_logprobs: list[Alternative] | None = None


class Probabilities(msgspec.Struct):
    content: list[Probability] | None = None


class Choice(msgspec.Struct):
    delta: Delta
    index: int = 0
    finish_reason: str | None = None
    logprobs: Probabilities | None = None


class PromptProgress(msgspec.Struct):
    total: int = 0
    cache: int = 0
    processed: int = 0


class WireTimings(msgspec.Struct):
    """Token counts and milliseconds of one choice."""

    cache_n: int = 0
    prompt_n: int = 0
    prompt_ms: float = 0.0
    predicted_n: int = 0
    predicted_ms: float = 0.0
    draft_n: int = 0
    draft_n_accepted: int = 0


class Details(msgspec.Struct):
    cached_tokens: int = 0


class WireUsage(msgspec.Struct):
    completion_tokens: int = 0
    prompt_tokens: int = 0
    prompt_tokens_details: Details | None = None


class Verbose(msgspec.Struct):
    stopping_word: str = ""


class ChatChunk(msgspec.Struct):
    """A line of /v1/chat/completions."""

    choices: list[Choice] = []
    prompt_progress: PromptProgress | None = None
    usage: WireUsage | None = None
    timings: WireTimings | None = None
    verbose: Verbose | None = msgspec.field(default=None, name="__verbose")
    error: Any = None


class CompletionChunk(msgspec.Struct):
    """A line of /completion and /infill."""

    index: int = 0
    content: str = ""
    tokens: list[int] = []
    stop: bool = False
    stop_type: str = ""
    stopping_word: str = ""
    tokens_evaluated: int = 0
    tokens_predicted: int = 0
    completion_probabilities: list[Probability] | None = None
    prompt_progress: PromptProgress | None = None
    timings: WireTimings | None = None
    error: Any = None


LEAST = -9999.0
"""The logarithm that stands for no probability at all: JSON has no infinity."""


def logprobs(found: list[Probability] | None, top: int | None) -> tuple[TokenLogprob, ...]:
    """Events' log-probabilities with the ``top`` likeliest alternatives; none where not asked for."""
    if not found or top is None:
        return ()
    return tuple(
        TokenLogprob(
            one.token,
            _number(one.logprob),
            bytes(one.bytes or ()),
            tuple(
                TopLogprob(other.token, _number(other.logprob), bytes(other.bytes or ()))
                for other in (one.top_logprobs or ())[:top]
            ),
        )
        for one in found
    )


def _number(logprob: float | None) -> float:
    return LEAST if logprob is None else max(logprob, LEAST)


class Lines:
    """Cuts a byte stream of server-sent events into the JSON texts of its data fields."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events completed by ``chunk``. Comments (keep-alives) and other fields are skipped."""
        if not self._rest and chunk.startswith(b"data: ") and chunk.find(b"\n\n") == len(chunk) - 2:
            return [chunk[6:-2]]  # by far the commonest: one whole event
        data = self._rest + chunk if self._rest else chunk
        blocks = data.split(b"\n\n")
        self._rest = blocks.pop()
        out: list[bytes] = []
        for block in blocks:
            if block.startswith(b"data: "):
                out.append(block[6:])
            elif block:
                out += _fields(block)
        return out


def _fields(block: bytes) -> list[bytes]:
    """An event in any other shape: further fields beside data, or an older ``error:`` field."""
    out: list[bytes] = []
    for line in block.splitlines():
        name, _, value = line.partition(b":")
        if name == b"data":
            out.append(value.strip())
        elif name == b"error":
            out.append(b'{"error":' + value.strip() + b"}")
    return out


def unreadable(error: Exception) -> EngineError:
    """The error for a line that is not what llama-server writes."""
    return EngineError(
        "The engine sent something that cannot be read.",
        hint="Check that the engine's version is supported: inhouse doctor.",
        detail=str(error),
    )
