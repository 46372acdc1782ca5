"""The lines that servers of OpenAI's wire stream, as typed records; only the fields that are read."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ....core.errors import EngineError


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct):
    """``reasoning`` is vLLM's and Ollama's name, ``reasoning_content`` DeepSeek's and SGLang's."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Call] | None = None


class Alternative(msgspec.Struct):
    token: str = ""
    logprob: float | None = None
    bytes: list[int] | None = None


class Probability(Alternative):
    top_logprobs: list[Alternative] | None = None


class Probabilities(msgspec.Struct):
    """Of a chat (``content``) or of a completion (the others)."""

    content: list[Probability] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class Choice(msgspec.Struct):
    """``stop_reason`` (vLLM) and ``matched_stop`` (SGLang) are the stop string, or a token's id."""

    index: int = 0
    delta: Delta | None = None
    text: str | None = None
    logprobs: Probabilities | None = None
    finish_reason: str | None = None
    stop_reason: Any = None
    matched_stop: Any = None


class PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct):
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    reasoning_tokens: int | None = None


class Chunk(msgspec.Struct):
    """A line of either stream. vLLM's older errors have ``object`` "error" and their fields beside it."""

    choices: list[Choice] | None = None
    usage: WireUsage | None = None
    error: Any = None
    object: str | None = None
    message: Any = None


LONGEST: Final = 32 * 2**20
"""Bytes of one event: what is longer is no event of this wire."""


class Lines:
    """Cuts a byte stream of server-sent events into the texts of its data fields.

    Source: the HTML standard, 9.2.6: lines end with LF, CRLF or CR (which no server sends alone); several
    data fields of an event are joined by LF; comments and other fields are skipped.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._held = 0
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that ``chunk`` completes. Raises EngineError for one that has no end."""
        whole = chunk.startswith(b"data: {") and chunk.find(b"\n\n") == len(chunk) - 2
        if whole and not self._rest and not self._data and chunk.find(b"\n") == len(chunk) - 2:
            return [chunk[6:-2]]  # by far the commonest: one whole event
        lines = chunk.split(b"\n")
        self._held += len(chunk)
        if len(lines) > 1:
            lines[0] = b"".join((*self._rest, lines[0]))
            self._rest = []
        if rest := lines.pop():
            self._rest.append(rest)
        out = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line:
                self._held = len(rest)
                if self._data:
                    out.append(b"\n".join(self._data))
                    self._data = []
        if self._held > LONGEST:
            raise unreadable(ValueError(f"an event of more than {LONGEST} bytes"))
        return out


def unreadable(error: Exception) -> EngineError:
    """The error for what is not OpenAI's wire."""
    return EngineError(
        "The engine sent something that cannot be read.",
        hint="Check that its version is supported, and what it takes.",
        detail=str(error),
    )
