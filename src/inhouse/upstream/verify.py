"""What was promised of an answer, looked at once more before it counts as done.

An engine that stumbles over a grammar goes on without it, and some keywords of a schema no engine
enforces. A wrong answer must not end like a right one.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

from ..core.errors import BadRequest, EngineError
from ..core.events import ChoiceEnd, Event, Finished, Notice, Progress, Started, TextDelta, ToolCallDelta
from ..core.messages import Format
from ..core.requests import Chat, Complete
from ..core.usage import Timings, Usage
from ..dialects.llamaserver.tools import schema_of
from ..grammar import Validator, relaxed
from .calls import checker, invalid

ATTEMPTS = 3
_STEP = 7919
"""Between the seeds of two attempts: more than any number of choices."""

Events = AsyncGenerator[Event, None]
R = TypeVar("R", Chat, Complete)


def promised(run: Callable[[R], Events], request: R, grammars: frozenset[str]) -> Events:
    """The events of ``request``, held to its format; ``grammars`` as in ``Launch``. Raises what ``enforced``
    and ``after`` raise; a refusal of the engine names the field that asked for the format."""
    wanted = request.format
    if wanted is None:
        return run(request)
    if wanted.kind == "grammar" or (isinstance(request, Complete) and request.echo):
        return _named(run(request), wanted.param)
    if wanted.after and wanted.kind == "schema":
        return _named(after(run, request, wanted, grammars), wanted.param)
    return _named(enforced(run(request), wanted), wanted.param)


async def _named(events: Events, param: str) -> Events:
    try:
        async with aclosing(events):
            async for event in events:
                yield event
    except BadRequest as error:
        if error.param == "response_format":
            error.param = param
        raise


class Texts:
    """Collects the texts of all choices and says which of them are not what was asked for."""

    def __init__(self, wanted: Format) -> None:
        """Raises BadRequest for a schema that is none."""
        self._validator = Validator(schema_of(wanted), wanted.param)
        self._said: dict[int, list[str]] = {}

    def feed(self, event: Event) -> str | None:
        """What is wrong with a choice that ``event`` ends. One that was cut off or that only calls
        tools cannot be judged."""
        if isinstance(event, TextDelta):
            self._said.setdefault(event.index, []).append(event.text)
        if not isinstance(event, ChoiceEnd) or event.reason != "stop" or event.stop is not None:
            return None
        return self._validator.valid("".join(self._said.get(event.index, ())))


async def enforced(events: Events, wanted: Format) -> Events:
    """The same events. Raises EngineError in place of an end that would be a lie."""
    texts = Texts(wanted)
    async with aclosing(events):
        async for event in events:
            if why := texts.feed(event):
                raise EngineError(
                    "The engine's answer does not satisfy the schema.",
                    hint="Try again; the log has the details.",
                    detail=why,
                )
            yield event


async def after(run: Callable[[R], Events], request: R, wanted: Format, grammars: frozenset[str]) -> Events:
    """Whole answers under a schema that is only looked at afterwards; a few are made until one is right.

    Every attempt counts. Raises EngineError when none satisfies the schema.
    """
    schema = await asyncio.to_thread(relaxed, schema_of(wanted), grammars)
    loose = dataclasses.replace(wanted, kind="schema", schema=schema, after=False)
    used, times, why, started = Usage(), Timings(), "", False
    for attempt in range(ATTEMPTS):
        texts, held, why = Texts(wanted), list[Event](), ""
        async with aclosing(run(_attempt(request, loose, attempt))) as events:
            async for event in events:
                if isinstance(event, Started | Progress | Notice):
                    if not (started and isinstance(event, Started)):
                        yield event
                    started = True
                    continue
                if isinstance(event, Finished):
                    used, times = _added(used, event.usage), _longer(times, event.timings)
                    event = dataclasses.replace(event, usage=used, timings=times)
                why = why or texts.feed(event) or ""
                held.append(event)
        if not why:
            for event in held:
                yield event
            return
    raise EngineError(
        f"None of {ATTEMPTS} answers satisfies the schema.",
        hint="Simplify the schema, say in the prompt what is wanted, or use a larger model.",
        detail=why,
    )


def _attempt(request: R, loose: Format, attempt: int) -> R:
    sampling = request.sampling
    if attempt and sampling.seed is not None:
        sampling = dataclasses.replace(sampling, seed=sampling.seed + _STEP * attempt)
    if attempt and sampling.temperature == 0:  # else it would say the same again
        sampling = dataclasses.replace(sampling, temperature=0.5)
    return dataclasses.replace(request, format=loose, sampling=sampling)


def _added(a: Usage, b: Usage) -> Usage:
    return Usage(
        max(a.prompt_tokens, b.prompt_tokens),
        a.completion_tokens + b.completion_tokens,
        a.cached_tokens or b.cached_tokens,
        a.reasoning_tokens + b.reasoning_tokens,
        a.drafted_tokens + b.drafted_tokens,
        a.accepted_tokens + b.accepted_tokens,
    )


def _longer(a: Timings, b: Timings) -> Timings:
    return Timings(prefill=a.prefill + b.prefill, decode=a.decode + b.decode)


async def calls(events: Events, chat: Chat, *, forced: bool) -> Events:
    """The same events, and a Notice for each call whose arguments do not fit its schema: those that
    the engine reads out of a model's own notation are written under no grammar of ours. Raises
    EngineError where a call was ``forced`` and there is none, or a bad one."""
    wrong = checker(chat.tools)
    made: dict[tuple[int, int], list[str]] = {}
    names: dict[tuple[int, int], str] = {}
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ToolCallDelta):
                made.setdefault((event.index, event.call), []).append(event.arguments)
                if event.name:
                    names[event.index, event.call] = event.name
            elif forced and isinstance(event, ChoiceEnd) and event.reason == "stop":
                raise _no_call("no call")
            elif isinstance(event, ChoiceEnd) and event.reason == "tool_calls":
                for key, pieces in made.items():
                    name = names.get(key, "")
                    if key[0] == event.index and (why := wrong(name, "".join(pieces) or "{}")):
                        if forced:
                            raise _no_call(why)
                        yield invalid(name, why)
            yield event


def _no_call(why: str) -> EngineError:
    return EngineError(
        "The engine did not make the call that was asked for.",
        hint="Try again; the log has the details.",
        detail=why,
    )
