"""The streams of /v1/chat/completions and /v1/completions as events."""

from __future__ import annotations

from typing import Final

import msgspec

from ....core.errors import EngineError
from ....core.events import (
    ChoiceEnd,
    Event,
    Notice,
    Reason,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)
from ....core.usage import Usage
from . import failures
from .encode import Order
from .wire import Call, Choice, Chunk, Lines, Probabilities, WireUsage, unreadable

LEAST: Final = -9999.0
"""The logarithm that stands for no probability at all: JSON has no infinity."""

_REASONS: Final[dict[str, Reason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "stop",
}


class Decoder:
    """What both streams have in common. ``done`` once every choice ended; ``usage`` as told, or counted
    by pieces where the server tells none (``counted``)."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._lines = Lines()
        self._ended: set[int] = set()
        self._called: set[int] = set()
        self._told: WireUsage | None = None
        self._pieces = 0
        self._thoughts = 0
        self._read = msgspec.json.Decoder(Chunk).decode

    @property
    def done(self) -> bool:
        """All choices ended; the connection may close."""
        return len(self._ended) >= self._order.n

    @property
    def counted(self) -> bool:
        """The server told no usage: what ``usage`` says are pieces of text."""
        return self._told is None

    @property
    def usage(self) -> Usage:
        """Tokens of this call."""
        told = self._told
        if told is None:
            return Usage(0, 0 if self._order.mute else self._pieces, 0, self._thoughts)
        before, after = told.prompt_tokens_details, told.completion_tokens_details
        thought = (after.reasoning_tokens if after else None) or told.reasoning_tokens or self._thoughts
        written = 0 if self._order.mute else told.completion_tokens or 0
        return Usage(
            told.prompt_tokens or 0,
            written,
            (before.cached_tokens if before else None) or 0,
            min(thought, written),
        )

    def feed(self, chunk: bytes) -> list[Event]:
        """Events of a chunk of bytes. Raises EngineError, Busy or BadRequest for an error amid the stream."""
        out: list[Event] = []
        for line in self._lines.feed(chunk):
            if line == b"[DONE]":
                if not self.done:
                    raise unreadable(ValueError("[DONE] before the end of every choice"))
                continue
            try:
                found = self._read(line)
            except msgspec.DecodeError as error:
                raise unreadable(error) from error
            if found.error is not None or found.object == "error":
                raise failures.from_error(found.error or {"message": found.message}, param=self._order.param)
            if found.usage is not None:
                self._told = found.usage
            for choice in found.choices or ():
                self._choice(choice, out)
        return out

    def _choice(self, choice: Choice, out: list[Event]) -> None:
        if not 0 <= choice.index < self._order.n:
            raise unreadable(IndexError(f"choice {choice.index}"))
        if choice.index in self._ended:
            return  # some servers send an empty delta after the end
        index = choice.index + self._order.offset
        said: list[Event] = []
        self._say(choice, index, said)
        if not self._order.mute:
            out += said
        if choice.finish_reason:  # some servers send "" until there is one
            self._end(choice, index, out)

    def _say(self, choice: Choice, index: int, out: list[Event]) -> None:
        raise NotImplementedError

    def _text(self, text: str, index: int, logprobs: tuple[TokenLogprob, ...], out: list[Event]) -> None:
        if text or logprobs:
            self._pieces += len(logprobs) or 1
            out.append(TextDelta(text, index, logprobs))

    def _end(self, choice: Choice, index: int, out: list[Event]) -> None:
        reason = _REASONS.get(choice.finish_reason or "")
        if reason is None:
            raise EngineError(
                "The engine broke the answer off.",
                hint="Try again; the log has the details.",
                detail=f"finish_reason {choice.finish_reason!r}",
            )
        if choice.finish_reason == "content_filter":
            out.append(Notice("content_filter", "The engine's own filter cut the answer."))
        if self._order.mute:
            reason = "length"
        elif choice.index in self._called:
            reason = "length" if reason == "length" else "tool_calls"
        elif reason == "tool_calls":
            reason = "stop"
        word = next((w for w in (choice.stop_reason, choice.matched_stop) if isinstance(w, str) and w), None)
        self._ended.add(choice.index)
        out.append(ChoiceEnd(reason, index, word if word in self._order.body.get("stop", ()) else None))


class ChatDecoder(Decoder):
    """Reads the stream of /v1/chat/completions."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self._newest: dict[int, int] = {}
        self._calls: dict[tuple[int, int], tuple[int, str]] = {}

    def _say(self, choice: Choice, index: int, out: list[Event]) -> None:
        delta = choice.delta
        if delta is None:
            return
        thought = delta.reasoning_content or delta.reasoning
        if thought:
            self._pieces += 1
            self._thoughts += 1
            out.append(ReasoningDelta(thought, index))
        text = delta.content or delta.refusal or ""
        self._text(text, index, _chat_logprobs(choice.logprobs, self._order.logprobs), out)
        for call in delta.tool_calls or ():
            out.append(self._call(call, choice.index, index))

    def _call(self, call: Call, choice: int, index: int) -> ToolCallDelta:
        """A piece of a call."""
        function = call.function
        name = (function.name if function else None) or None
        number = self._number_of(call, choice, named=name is not None)
        if name is not None and name not in self._order.tools:
            raise EngineError(
                "The engine called a function that it was not offered.",
                hint="Try again; the log has the details.",
                detail=name[:200],
            )
        self._called.add(choice)
        self._pieces += 1
        return ToolCallDelta(number, (function.arguments if function else None) or "", call.id, name, index)

    def _number_of(self, call: Call, choice: int, *, named: bool) -> int:
        """Which call of its choice a piece belongs to. Where the server does not number them, one with a
        name is a new one; so is one with a name and a further id: some servers number all of them 0."""
        newest, told = self._newest.get(choice, -1), call.index
        if told is None:
            told = max(0, newest + named)
        number, ident = self._calls.get((choice, told), (-1, ""))
        if number < 0 or (named and ident and call.id and call.id != ident):
            number, ident = max(told, newest + 1), call.id or ""
            self._newest[choice] = number
            self._calls[choice, told] = (number, ident)
        return number


class TextDecoder(Decoder):
    """Reads the stream of /v1/completions."""

    def _say(self, choice: Choice, index: int, out: list[Event]) -> None:
        found = _text_logprobs(choice.logprobs, self._order.logprobs)
        self._text(choice.text or "", index, found, out)


def _chat_logprobs(found: Probabilities | None, top: int | None) -> tuple[TokenLogprob, ...]:
    if found is None or not found.content or top is None:
        return ()
    return tuple(
        TokenLogprob(
            one.token,
            _number(one.logprob),
            _bytes(one.token, one.bytes),
            tuple(
                TopLogprob(other.token, _number(other.logprob), _bytes(other.token, other.bytes))
                for other in (one.top_logprobs or ())[:top]
            ),
        )
        for one in found.content
    )


def _text_logprobs(found: Probabilities | None, top: int | None) -> tuple[TokenLogprob, ...]:
    if found is None or not found.tokens or top is None:
        return ()
    chances = found.token_logprobs or []
    tops = found.top_logprobs or []
    out = []
    for at, token in enumerate(found.tokens):
        others = (tops[at] if at < len(tops) else None) or {}
        ranked = sorted(others.items(), key=lambda item: -item[1])[:top]
        out.append(
            TokenLogprob(
                token,
                _number(chances[at] if at < len(chances) else None),
                _bytes(token, None),
                tuple(TopLogprob(text, _number(value), _bytes(text, None)) for text, value in ranked),
            )
        )
    return tuple(out)


def _number(logprob: float | None) -> float:
    return LEAST if logprob is None else max(logprob, LEAST)


def _bytes(token: str, given: list[int] | None) -> bytes:
    if given is None or any(not 0 <= byte < 256 for byte in given):
        return token.encode("utf-8", "replace")
    return bytes(given)


__all__ = ["ChatDecoder", "Decoder", "TextDecoder"]
