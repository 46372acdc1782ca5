"""Raw completions on a worker: several prompts one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from ..core.errors import ContextExceeded, Unsupported
from ..core.events import ChoiceEnd, Event, Finished, Notice, Started, TextDelta
from ..core.models import Card
from ..core.requests import Complete
from ..core.usage import Timings, Usage
from ..dialects.llamaserver import (
    Order,
    Reading,
    Tally,
    check_ids,
    encode_complete,
    encode_infill,
    fim_tokens,
)
from ..dialects.llamaserver.sampling import max_tokens
from . import fit, verify
from .best import best, widened
from .chat import totals
from .http import Link, decoder_for
from .limits import own_limit, reseeded, rounds


@dataclass(slots=True)
class _Sum:
    """What all prompts used together."""

    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    context: tuple[int, ...] | None = None
    started: bool = False

    def add(self, usage: Usage, timings: Timings) -> None:
        a, b = self.usage, usage
        self.usage = Usage(
            a.prompt_tokens + b.prompt_tokens,
            a.completion_tokens + b.completion_tokens,
            a.cached_tokens + b.cached_tokens,
            a.reasoning_tokens + b.reasoning_tokens,
            a.drafted_tokens + b.drafted_tokens,
            a.accepted_tokens + b.accepted_tokens,
        )
        self.timings = Timings(
            prefill=self.timings.prefill + timings.prefill, decode=self.timings.decode + timings.decode
        )


def run(link: Link, card: Card, request: Complete) -> AsyncGenerator[Event, None]:
    """The events of a completion; choice ``index`` is prompt * n + i.

    Raises Unsupported and BadRequest, naming the field, ContextExceeded, and EngineError when an answer
    does not satisfy its schema.
    """
    _check(request, card)
    return verify.promised(lambda one: _run(link, card, one), request, link.launch.grammars)


async def _run(link: Link, card: Card, request: Complete) -> AsyncGenerator[Event, None]:
    total = _Sum()
    choosy = request.best_of is not None and request.best_of > request.n
    for number, prompt in enumerate(request.prompts):
        first = number * request.n
        if choosy:
            events = best(_Prompt(link, card, widened(request), prompt, 0, total).run(), request, first)
        else:
            events = _Prompt(link, card, request, prompt, first, total).run()
        async with aclosing(events):
            async for event in events:
                yield event
    yield Finished(total.usage, total.timings, total.context)


def _check(request: Complete, card: Card) -> None:
    if request.echo and request.logprobs is not None:
        raise Unsupported(
            "Log-probabilities of the prompt cannot be given.",
            hint="Use logprobs without echo.",
            param="logprobs",
        )
    if request.echo and request.format is not None:
        raise Unsupported(
            "An answer in a format cannot begin with its prompt.", hint="Leave echo out.", param="echo"
        )
    if request.suffix is not None and "insert" not in card.capabilities:
        raise Unsupported(
            "This model cannot fill in the middle.", hint="Leave the suffix out.", param="suffix"
        )
    for i, prompt in enumerate(request.prompts):
        if not isinstance(prompt, str):
            check_ids(prompt, card, f"prompt[{i}]" if len(request.prompts) > 1 else "prompt")


@dataclass(slots=True)
class _Prompt:
    """One prompt of a request; its choices begin at ``first``."""

    link: Link
    card: Card
    request: Complete
    prompt: str | tuple[int, ...]
    first: int
    total: _Sum
    ids: list[int] | None = None
    """The prompt as token ids, where we need to know them."""
    told: Notice | None = None

    async def run(self) -> AsyncGenerator[Event, None]:
        """All choices; a prompt that turns out too long is cut where that is allowed."""
        limit = own_limit(self.link.launch, self.request.load)
        await self._prepare(limit)
        try:
            async with aclosing(self._attempt(limit)) as events:
                async for event in events:
                    yield event
            return
        except ContextExceeded as error:
            if not self.request.truncate and error.prompt_tokens != error.context_length:
                raise
            over = error
        if self.request.truncate:
            await self._prepare(over.context_length - 1)
            again = self._attempt(limit)
        else:
            again = self._full(over.prompt_tokens)
        async with aclosing(again) as events:
            async for event in events:
                yield event

    async def _prepare(self, limit: int | None) -> None:
        """Make token ids where needed and cut them to ``limit`` if allowed. Raises ContextExceeded."""
        request, prompt = self.request, self.prompt
        ids: list[int] | None = None
        if request.suffix is not None:
            ids = await _infill_ids(self.link, self.card, prompt, request.suffix)
            if ids is None and not isinstance(prompt, str):
                self.prompt = prompt = await self.link.detokenize(list(prompt))
        elif not isinstance(prompt, str):
            ids = list(prompt)
        elif limit is not None or request.want_context:
            ids = await self.link.tokenize(prompt)
        if not prompt and not ids and request.suffix is None:
            ids = _beginning(self.card)
        self.ids = ids
        if ids is None or limit is None or len(ids) <= limit:
            return
        kept: list[int] = []
        if request.truncate and request.suffix is None:
            bare = await self.link.tokenize(prompt, special=False) if isinstance(prompt, str) else ids
            kept = fit.cut_ids(ids, bare, limit - fit.room_for_answer(request, limit))
        if not kept:
            raise ContextExceeded(len(ids), limit, param="prompt")
        self.ids, self.told = kept, fit.notice(len(ids), limit, "its beginning was cut off")

    async def _full(self, used: int) -> AsyncGenerator[Event, None]:
        """The prompt fills the context to the last token: an empty answer."""
        if not self.total.started:
            self.total.started = True
            yield Started()
        for i in range(self.request.n):
            yield ChoiceEnd("length", self.first + i)
        self.total.add(Usage(used), Timings())

    async def _attempt(self, limit: int | None) -> AsyncGenerator[Event, None]:
        """Run the choices, in rounds if there are more than slots."""
        cap = None if limit is None or self.ids is None else limit - len(self.ids)
        if cap is not None and cap <= 0 and self.ids is not None:
            async with aclosing(self._full(len(self.ids))) as events:
                async for event in events:
                    yield event
            return
        echo = await self._echo()
        tallies: list[Tally] = []
        mute = max_tokens(self.request.sampling, self.card) == 0
        for offset, size in rounds(self.request.n, self.link.launch.slots):
            first = self.first + offset
            reading = Reading(n=size, offset=first, logprobs=self.request.logprobs, mute=mute, param="prompt")
            order = self._order(reading, cap)
            decoder = decoder_for(order)
            async with aclosing(self.link.events(order, decoder)) as events:
                async for event in events:
                    if not isinstance(event, Started):
                        yield event
                        continue
                    for early in self._beginning_of(reading, echo):
                        yield early
            tallies.append(decoder.tally)
            if self.request.want_context and not first:
                self.total.context = (*(self.ids or ()), *getattr(decoder, "tokens", ()))
        self.total.add(*totals(tallies, mute=mute))

    def _beginning_of(self, reading: Reading, echo: str) -> list[Event]:
        """What is said once the engine took a round."""
        out: list[Event] = []
        if not self.total.started:
            self.total.started = True
            out.append(Started())
        if self.told is not None and reading.offset == self.first:
            out.append(self.told)
        if echo:
            out += [TextDelta(echo, reading.offset + i) for i in range(reading.n)]
        return out

    async def _echo(self) -> str:
        if not self.request.echo:
            return ""
        return self.prompt if isinstance(self.prompt, str) else await self.link.detokenize(list(self.prompt))

    def _order(self, reading: Reading, cap: int | None) -> Order:
        sampling = reseeded(self.request.sampling, reading.offset - self.first)
        request = dataclasses.replace(self.request, sampling=sampling)
        if request.suffix is not None and self.ids is None:
            return encode_infill(request, self.card, str(self.prompt), reading=reading, limit=cap)
        text = self.prompt if isinstance(self.prompt, str) else list(self.prompt)
        prompt = text if self.ids is None else self.ids
        return encode_complete(request, self.card, prompt, reading=reading, limit=cap)


async def _infill_ids(link: Link, card: Card, prefix: str | tuple[int, ...], suffix: str) -> list[int] | None:
    """Prefix, suffix and middle between the model's own control tokens; None if those are unknown.

    llama-server's /infill would cut both to the size of a batch without a word.
    """
    three = fim_tokens(card)
    if three is None:
        return None
    before, after, middle = three
    head = await link.tokenize(before)
    if isinstance(prefix, str):
        prefix = tuple(await link.tokenize(prefix, special=False, control=False))
    return [
        *head,
        *prefix,
        *await link.tokenize(after, special=False),
        *await link.tokenize(suffix, special=False, control=False),
        *await link.tokenize(middle, special=False),
    ]


def _beginning(card: Card) -> list[int] | None:
    """The token that stands for the beginning of a text, for an empty prompt."""
    for kind in ("bos", "eos"):
        token = card.metadata.get(f"tokenizer.ggml.{kind}_token_id")
        if isinstance(token, int) and token >= 0:
            return [token]
    return None
