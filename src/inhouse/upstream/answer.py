"""One choice of a chat, written over as many requests as it takes.

A worker obeys one grammar from the first token of a request to the last. So an answer that is first
thought aloud and then held to a format, or that turns out to be a call, is written in legs: each
continues the prompt and all text so far, which the worker's slot still knows, and together they are
one answer with one count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import ContextExceeded
from ..core.events import ChoiceEnd, Event, Reason, ReasoningDelta, TextDelta, TokenLogprob
from ..core.models import Card
from ..core.requests import Chat
from ..core.usage import Timings, Usage
from ..dialects.llamaserver import Reading, encode_complete
from ..dialects.llamaserver.content import CLOSE, OPEN, Content
from ..dialects.llamaserver.encode import TAGS, constraint, quiet
from ..dialects.llamaserver.sampling import stops
from .http import Link, decoder_for
from .prompt import Rendering, continued

PEEK = 4
"""Tokens after which it shows whether an answer begins with a thought."""


@dataclass(slots=True)
class Spent:
    """What all legs of an answer used; the prompt is the first one's."""

    usage: Usage | None = None
    timings: Timings = field(default_factory=Timings)

    def add(self, usage: Usage, timings: Timings) -> None:
        first = Usage(prompt_tokens=usage.prompt_tokens, cached_tokens=usage.cached_tokens)
        before = self.usage or first
        self.usage = dataclasses.replace(
            before,
            completion_tokens=before.completion_tokens + usage.completion_tokens,
            drafted_tokens=before.drafted_tokens + usage.drafted_tokens,
            accepted_tokens=before.accepted_tokens + usage.accepted_tokens,
        )
        self.timings = Timings(
            prefill=self.timings.prefill + timings.prefill, decode=self.timings.decode + timings.decode
        )


@dataclass(slots=True)
class Leg:
    """What one request of an answer may write, and how it ended. ``fields`` hold it to a grammar.
    ``tokens`` were written, ``said`` of them up to the last that is text."""

    most: int | None = None
    stop: tuple[str, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)
    reason: Reason = "stop"
    word: str | None = None
    tokens: int = 0
    said: int = 0


class Answer:
    """Choice ``index`` of ``chat``. ``left`` tokens may be written, -1 is as many as fit."""

    def __init__(
        self, link: Link, card: Card, chat: Chat, rendering: Rendering, reading: Reading, *, left: int
    ) -> None:
        self.link, self.card, self.chat, self.rendering = link, card, chat, rendering
        self.reading = dataclasses.replace(
            reading,
            n=1,
            prefill="",
            thoughts="thinking" in card.capabilities and not rendering.closed,
            thinking=rendering.opened,
        )
        self.index = reading.offset
        self.left = left
        self.written = ""
        self.spent = Spent()
        self.ended: Reason | None = None
        self.stopped: str | None = None
        self.content = Content(self.reading, self.index)
        self.reasoning = 0
        self._budget = 0 if quiet(chat) else chat.think_budget

    def usage(self) -> Usage:
        """Tokens of all legs."""
        return dataclasses.replace(self.spent.usage or Usage(), reasoning_tokens=self.reasoning)

    async def run(self) -> AsyncGenerator[Event, None]:
        """All events of the choice, its end the last."""
        for part in (self._think, self.say):
            if self.ended is None:
                async with aclosing(part()) as events:
                    async for event in events:
                        yield event
        for event in self.content.end():
            yield event
        reason = self.ended or "stop"
        if self.content.called and reason == "stop":
            reason = "tool_calls"
        yield ChoiceEnd(reason, self.index, self.stopped)

    async def leg(self, leg: Leg) -> AsyncGenerator[Event, None]:
        """The raw events of one request: its text is not read yet. Closing it ends the request."""
        if self.left == 0:
            leg.reason = "length"
            return
        bounds = [bound for bound in (leg.most, self.left) if bound is not None and bound >= 0]
        reading = Reading(logprobs=self.chat.logprobs, param=self.reading.param)
        order = encode_complete(
            dataclasses.replace(self.chat, format=None),
            self.card,
            self.rendering.then(continued(self.written, self.card, TAGS)),
            reading=reading,
            limit=min(bounds, default=None),
        )
        if bounds:
            order.body["n_predict"] = min(bounds)
        body = order.body
        body["cache_prompt"] |= bool(self.written)  # what this answer has computed itself
        body |= {"preserved_tokens": list(TAGS), "stop": list(leg.stop), **leg.fields}
        decoder = decoder_for(order)
        try:
            async with aclosing(self.link.events(order, decoder)) as events:
                async for event in events:
                    if isinstance(event, ChoiceEnd):
                        leg.reason, leg.word = event.reason, event.stop
                        continue
                    yield event
        except ContextExceeded:
            if not self.written:
                raise
            leg.reason = "length"  # what was written filled the context
        finally:
            leg.tokens, leg.said = decoder.tally.usage().completion_tokens, decoder.tally.said
            self.left -= min(leg.tokens, self.left) if self.left > 0 else 0
            self.spent.add(decoder.tally.usage(), decoder.tally.timings())

    def read(self, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> list[Event]:
        """The events of a piece of the answer."""
        self.written += text
        return self.content.feed(text, logprobs)

    def finish(self, leg: Leg) -> None:
        """The answer ended with this leg."""
        self.ended, self.stopped = leg.reason, leg.word

    # thinking

    async def _think(self) -> AsyncGenerator[Event, None]:
        """Thoughts, where the model has any; they obey no grammar but end at their budget."""
        if not self.reading.thoughts:
            return
        if self._budget == 0 and self._held_to_a_format and not self.rendering.opened:
            return
        parts = (self._inside,) if self.rendering.opened else (self._peek, self._inside)
        for part in parts:
            async with aclosing(part()) as events:
                async for event in events:
                    yield event
            if self.ended is not None or not self.content.thinking:
                return

    async def _peek(self) -> AsyncGenerator[Event, None]:
        """The first tokens; taken back if they are no thought and the answer has a grammar to obey or
        stop strings to end at, which mean nothing in a thought."""
        few = self._budget is not None and self._budget < PEEK
        leg = Leg(1 if few else PEEK, (CLOSE,))
        said: list[TextDelta] = []
        async with aclosing(self.leg(leg)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    said.append(event)
                else:
                    yield event
        bound = self._held_to_a_format or stops(self.chat.sampling, self.card)
        if bound and not "".join(one.text for one in said).lstrip().startswith(OPEN):
            self.left += leg.tokens if self.left >= 0 else 0
            self.spent.add(Usage(completion_tokens=-leg.tokens), Timings())
            return
        for one in said:
            inside = self.content.thinking
            events_of = self.read(one.text, one.logprobs)
            for event in events_of:
                yield event
            self.reasoning += (inside and self.content.thinking) or _thought(events_of)
        if leg.word:
            for event in self.read(leg.word):
                yield event
        elif leg.reason == "stop" or self.left == 0:
            self.finish(leg)

    async def _inside(self) -> AsyncGenerator[Event, None]:
        """The rest of a thought, then its closing tag."""
        left = None if self._budget is None else max(0, self._budget - self.reasoning)
        leg = Leg(left, (CLOSE,))
        if leg.most != 0:
            async with aclosing(self.leg(leg)) as events:
                async for event in events:
                    if not isinstance(event, TextDelta):
                        yield event
                        continue
                    for out in self.read(event.text):
                        yield out
        self.reasoning += leg.said
        spent = leg.most is not None and leg.tokens >= leg.most
        if (leg.reason == "length" and not spent) or self.left == 0:
            self.ended = "length"
        elif leg.word is None and not spent and not self._held_to_a_format:
            self.finish(leg)  # the model ended in its thought
        else:
            if not leg.word:
                self.content.cut_thought()
            for out in self.read(CLOSE if leg.word else f"\n{CLOSE}\n\n"):
                yield out

    @property
    def _held_to_a_format(self) -> bool:
        return self.chat.format is not None or self.reading.tools.schema is not None

    # saying

    async def say(self) -> AsyncGenerator[Event, None]:
        """What is said under a grammar."""
        forced = self.reading.tools.mode == "forced"
        leg = Leg(
            stop=() if forced else tuple(stops(self.chat.sampling, self.card)),
            fields=constraint(self.chat.format, self.reading.tools),
        )
        async with aclosing(self.leg(leg)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    for out in self.read(event.text, event.logprobs):
                        yield out
                else:
                    yield event
        self.finish(leg)


def _thought(events: list[Event]) -> bool:
    return any(isinstance(event, ReasoningDelta) for event in events)
