"""Decoders of llama-server's streams: bytes in, events out; no await.

Both give everything but ``Started`` and ``Finished``, which belong to whoever runs the request, and
know when they are ``done``: a stream that ends before that is broken.
"""

from __future__ import annotations

import msgspec

from ...core.events import ChoiceEnd, Event, Progress, Reason, ReasoningDelta, TextDelta, ToolCallDelta
from ...core.usage import Timings, Usage
from . import failures
from .content import Content, Reading
from .wire import ChatChunk, Choice, CompletionChunk, Lines, WireTimings, WireUsage, logprobs, unreadable

_TORN = "\ufffd"


class Tally:
    """Adds up what the choices of one request used."""

    def __init__(self) -> None:
        self.prompt = self.completion = self.cached = self.reasoning = 0
        self.prefill = self.decode = 0.0

    def add(self, timings: WireTimings | None, prompt: int) -> None:
        """One choice; choices share the prompt and run side by side."""
        if timings is None:
            self.prompt = max(self.prompt, prompt)
            return
        first = not self.prompt
        self.prompt = max(self.prompt, prompt, timings.cache_n + timings.prompt_n)
        self.cached = timings.cache_n if first else min(self.cached, timings.cache_n)
        self.completion += timings.predicted_n
        self.prefill = max(self.prefill, timings.prompt_ms / 1000)
        self.decode = max(self.decode, timings.predicted_ms / 1000)

    def usage(self, *, mute: bool = False) -> Usage:
        """Tokens of the whole request; a muted answer counts as none."""
        completion = 0 if mute else self.completion
        return Usage(self.prompt, completion, self.cached, min(self.reasoning, completion))

    def timings(self) -> Timings:
        """The engine's own times."""
        return Timings(prefill=self.prefill, decode=self.decode)


class _Decoder:
    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.tally = Tally()
        self.done = False
        """All choices ended and nothing more will come."""
        self._lines = Lines()
        self._ended = 0
        self._torn: dict[int, str] = {}
        self._plain = reading.plain and reading.logprobs is None
        self._contents = [Content(reading, reading.offset + i) for i in range(reading.n)]

    def _content(self, index: int) -> Content:
        if not 0 <= index < len(self._contents):
            raise unreadable(IndexError(f"choice {index}"))
        return self._contents[index]

    def _whole(self, text: str, index: int) -> str:
        """``text`` without a character that the engine has not completed yet."""
        text = self._torn.pop(index, "") + text
        kept = text.rstrip(_TORN)
        if kept != text:
            self._torn[index] = text[len(kept) :]
        return kept

    def _end(self, index: int, reason: Reason, stop: str | None) -> list[Event]:
        content = self._content(index)
        torn = self._torn.pop(index, "")
        out: list[Event] = []
        if torn and reason != "length":
            out += content.feed(torn)
        out += content.end()
        if content.called and reason == "stop":
            reason = "tool_calls"
        self._ended += 1
        out.append(ChoiceEnd(reason, index + self.reading.offset, stop))
        return out


class ChatDecoder(_Decoder):
    """Reads the stream of /v1/chat/completions."""

    _decode = msgspec.json.Decoder(ChatChunk).decode

    def __init__(self, reading: Reading) -> None:
        super().__init__(reading)
        self._last = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Events of a chunk of bytes. Raises EngineError or BadRequest for an error amid the stream."""
        out: list[Event] = []
        for line in self._lines.feed(chunk):
            if line == b"[DONE]":
                self.done = self._ended >= self.reading.n
                continue
            try:
                found = self._decode(line)
            except msgspec.DecodeError as error:
                raise unreadable(error) from error
            if self._plain and found.timings is None and len(found.choices) == 1:
                choice = found.choices[0]
                text = choice.delta.content
                if text and not self._torn and text[-1] != _TORN and choice.finish_reason is None:
                    out.append(TextDelta(text, choice.index + self.reading.offset))
                    continue
            self._read(found, out)
        return out

    def _read(self, found: ChatChunk, out: list[Event]) -> None:
        if found.error is not None:
            raise failures.from_error(found.error, param=self.reading.param)
        if found.prompt_progress is not None:
            now = found.prompt_progress
            if not found.choices or found.choices[0].index == 0:
                out.append(Progress(now.processed, now.total, now.cache))
            return
        stop = found.verbose.stopping_word or None if found.verbose else None
        for choice in found.choices:
            self._last = choice.index
            self._choice(choice.index, choice, out)
            if choice.finish_reason is not None:
                reason = _REASONS.get(choice.finish_reason, "stop")
                out += self._end(choice.index, reason, stop)
        self._count(found.usage, found.timings)

    def _choice(self, index: int, choice: Choice, out: list[Event]) -> None:
        delta = choice.delta
        content = self._content(index)
        if delta.reasoning_content:
            self.tally.reasoning += 1
            if not self.reading.mute:
                out.append(ReasoningDelta(delta.reasoning_content, index + self.reading.offset))
        found = logprobs(choice.logprobs.content if choice.logprobs else None, self.reading.logprobs)
        if delta.content or found:
            out += content.feed(self._whole(delta.content or "", index), found)
        for call in delta.tool_calls or ():
            function = call.function
            name = function.name if function else None
            arguments = (function.arguments if function else None) or ""
            place = index + self.reading.offset
            out.append(content.call(ToolCallDelta(call.index, arguments, call.id, name, place)))

    def _count(self, usage: WireUsage | None, timings: WireTimings | None) -> None:
        if timings is not None or usage is not None:
            self.tally.add(timings, usage.prompt_tokens if usage else 0)


class CompletionDecoder(_Decoder):
    """Reads the stream of /completion and /infill; collects the token ids of the first choice."""

    _decode = msgspec.json.Decoder(CompletionChunk).decode

    def __init__(self, reading: Reading) -> None:
        super().__init__(reading)
        self.tokens: list[int] = []

    def feed(self, chunk: bytes) -> list[Event]:
        """Events of a chunk of bytes. Raises EngineError or BadRequest for an error amid the stream."""
        out: list[Event] = []
        for line in self._lines.feed(chunk):
            if line == b"[DONE]":
                continue
            try:
                found = self._decode(line)
            except msgspec.DecodeError as error:
                raise unreadable(error) from error
            self._read(found, out)
        return out

    def _read(self, found: CompletionChunk, out: list[Event]) -> None:
        if found.error is not None:
            raise failures.from_error(found.error, param=self.reading.param)
        index = found.index
        if found.prompt_progress is not None:
            now = found.prompt_progress
            if index == 0:
                out.append(Progress(now.processed, now.total, now.cache))
            return
        if index == 0 and not self.reading.mute:
            self.tokens += found.tokens
        probabilities = logprobs(found.completion_probabilities, self.reading.logprobs)
        if found.content or probabilities:
            events = self._content(index).feed(self._whole(found.content, index), probabilities)
            self.tally.reasoning += any(isinstance(event, ReasoningDelta) for event in events)
            out += events
        if found.stop:
            self.tally.add(found.timings, found.tokens_evaluated)
            reason: Reason = "length" if found.stop_type == "limit" else "stop"
            out += self._end(index, reason, found.stopping_word or None)
            self.done = self._ended >= self.reading.n


_REASONS: dict[str, Reason] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}

__all__ = ["ChatDecoder", "CompletionDecoder", "Reading", "Tally"]
