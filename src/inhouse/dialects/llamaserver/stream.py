"""Decoders of llama-server's streams: bytes in, events out; no await.

Both give everything but ``Started`` and ``Finished``, which belong to whoever runs the request, and
know when they are ``done``: a stream that ends before that is broken.
"""

from __future__ import annotations

import msgspec

from ...core.events import (
    ChoiceEnd,
    Event,
    Progress,
    Reason,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
)
from . import failures
from .align import Aligner
from .content import Content, Reading
from .tally import Tally
from .wire import ChatChunk, Choice, CompletionChunk, Lines, unreadable

_TORN = "\ufffd"


class _Decoder:
    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.tally = Tally()
        self.done = False
        """All choices ended and nothing more will come."""
        self._lines = Lines()
        self._ended = 0
        self._torn: dict[int, str] = {}
        self._plain = reading.logprobs is None
        self._aligners = [Aligner(reading.logprobs) for _ in range(reading.n)]
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

    def _say(self, index: int, text: str, logprobs: tuple[TokenLogprob, ...]) -> list[Event]:
        """Events of a piece of text; a token that only opens or closes a thought is none of it."""
        content = self._content(index)
        inside = content.thinking
        events = content.feed(text, logprobs)
        if (inside and content.thinking) or any(isinstance(event, ReasoningDelta) for event in events):
            self.tally.thought(index)
        return events

    def _end(self, index: int, reason: Reason, stop: str | None) -> list[Event]:
        content = self._content(index)
        torn = self._torn.pop(index, "")
        out: list[Event] = []
        if torn and reason != "length":
            out += content.feed(torn)
        out += content.end()
        if reason != "length":
            reason = "tool_calls" if content.called else "stop"
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
            if self._plain and len(found.choices) == 1:
                choice = found.choices[0]
                if self._passes(choice):
                    if found.timings is not None:
                        self.tally.note(choice.index, found.timings)
                    out.append(TextDelta(choice.delta.content or "", choice.index + self.reading.offset))
                    continue
            self._read(found, out)
        return out

    def _passes(self, choice: Choice) -> bool:
        """Whether there is but text that goes through as it comes: by far the commonest."""
        text = choice.delta.content
        whole = text and not self._torn and text[-1] != _TORN and choice.finish_reason is None
        return bool(whole) and self._content(choice.index).plain

    def _read(self, found: ChatChunk, out: list[Event]) -> None:
        if found.error is not None:
            raise failures.from_error(found.error, param=self.reading.param)
        if found.prompt_progress is not None:
            now = found.prompt_progress
            if not found.choices or found.choices[0].index == 0:
                out.append(Progress(now.processed, now.total, now.cache))
            return
        stop = found.verbose.stopping_word or None if found.verbose else None
        if found.choices:
            self._last = found.choices[0].index
        prompt = found.usage.prompt_tokens if found.usage else 0
        self.tally.note(self._last, found.timings, prompt)
        for choice in found.choices:
            self._choice(choice.index, choice, out)
            if choice.finish_reason is not None:
                reason = _REASONS.get(choice.finish_reason, "stop")
                out += self._end(choice.index, reason, stop)

    def _choice(self, index: int, choice: Choice, out: list[Event]) -> None:
        delta = choice.delta
        content = self._content(index)
        if delta.reasoning_content:
            self.tally.thought(index)
            out += content.think(delta.reasoning_content)
        found = choice.logprobs.content if choice.logprobs else None
        if delta.content or found:
            text = self._whole(delta.content or "", index)
            out += self._say(index, text, self._aligners[index].feed(text, found))
        for call in delta.tool_calls or ():
            function = call.function
            name = function.name if function else None
            arguments = (function.arguments if function else None) or ""
            place = index + self.reading.offset
            out += content.call(ToolCallDelta(call.index, arguments, call.id, name, place))


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
        self._content(index)
        self.tally.wrote(index, found.tokens_predicted, found.tokens_evaluated)
        text = self._whole(found.content, index) if found.content else ""
        said = self._aligners[index].feed(text, found.completion_probabilities)
        if text:
            self.tally.said = found.tokens_predicted
            out += self._say(index, text, said)
        if found.stop:
            self.tally.note(index, found.timings, found.tokens_evaluated)
            reason: Reason = "length" if found.stop_type == "limit" else "stop"
            out += self._end(index, reason, found.stopping_word or None)
            self.done = self._ended >= self.reading.n


_REASONS: dict[str, Reason] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}

__all__ = ["ChatDecoder", "CompletionDecoder", "Reading", "Tally"]
