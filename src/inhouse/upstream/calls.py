"""An answer that may be a call: commit, then constrain.

The model answers freely. As soon as it has written the head of a call to a declared function, the
rest of the sentence is certain: the same answer goes on under a grammar that admits only arguments
which that function takes. They stream while they are written, and are valid by construction.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import cast

from ..core.events import Event, Notice, TextDelta, TokenLogprob, ToolCallDelta
from ..core.messages import Tool
from ..core.models import Card
from ..core.requests import Chat
from ..dialects.llamaserver import Reading
from ..dialects.llamaserver.encode import under
from ..dialects.llamaserver.sampling import stops
from ..dialects.llamaserver.toolcalls import WORDS, CallScanner
from ..dialects.llamaserver.tools import arguments_schema, held_to
from ..grammar import Validator, check_tools
from .answer import Answer, Leg
from .http import Link
from .prompt import Rendering

MOST = 32
"""Calls of one answer: a small model may never stop making them."""

Check = Callable[[str, str], str | None]


def checker(tools: tuple[Tool, ...]) -> Check:
    """What is wrong with the arguments of a call, or None. Raises BadRequest for a bad schema."""
    validators = {
        tool.name: Validator(arguments_schema(tool), f"tools[{at}].function.parameters")
        for at, tool in enumerate(tools)
    }

    def wrong(name: str, arguments: str) -> str | None:
        return validators[name].valid(arguments) if name in validators else "there is no such function"

    return wrong


def again(tools: tuple[Tool, ...], wrong: Check, name: str, arguments: str) -> str | None:
    """The function whose call is to be made again. Where there is none of the name that was written, it
    is the only one that takes arguments of these names; if there is no such, this was no call."""
    if any(tool.name == name for tool in tools):
        return name if wrong(name, arguments) else None
    given = set(json.loads(arguments))
    fits = [tool.name for tool in tools if given and set(_required(tool)) <= given <= set(_listed(tool))]
    return fits[0] if len(fits) == 1 else None


def _listed(tool: Tool) -> list[str]:
    listed = tool.parameters.get("properties")
    return list(listed) if isinstance(listed, Mapping) else []


def _required(tool: Tool) -> list[str]:
    required = tool.parameters.get("required")
    return list(required) if isinstance(required, list | tuple) else []


def invalid(name: str, why: str) -> Notice:
    """Told where arguments do not fit their schema, whoever made them."""
    return Notice("tool_arguments_invalid", f"The arguments of '{name}' do not fit its schema: {why}.")


class CallingAnswer(Answer):
    """A choice that is read for calls while it is written."""

    def __init__(
        self, link: Link, card: Card, chat: Chat, rendering: Rendering, reading: Reading, *, left: int
    ) -> None:
        """Raises BadRequest when the schema of a tool is none."""
        self._wrong = wrong = checker(chat.tools)
        reading = dataclasses.replace(reading, check=lambda *call: again(chat.tools, wrong, *call))
        super().__init__(link, card, chat, rendering, reading, left=left)
        self._scanner = cast(CallScanner, self.content.calls)
        self._checked: dict[str, Tool] = {}

    async def say(self) -> AsyncGenerator[Event, None]:
        """Free text, and calls one after the other."""
        own = tuple(stops(self.chat.sampling, self.card))
        while self.ended is None:
            leg = Leg(stop=(*WORDS, *own))
            async with aclosing(self._free(leg)) as events:
                async for event in events:
                    yield event
            name = self._head(leg)
            if name is not None:
                async with aclosing(self._call(name)) as events:
                    async for event in events:
                        yield event
            elif self.ended is None:
                for out in self._heard(leg.word or ""):
                    yield out

    async def _free(self, leg: Leg) -> AsyncGenerator[Event, None]:
        """Free text up to the arguments of something, or the end. What follows a call and is none
        itself ends the answer."""
        async with aclosing(self.leg(leg)) as events:
            async for event in events:
                if not isinstance(event, TextDelta):
                    yield event
                    continue
                for out in self._heard(event.text, event.logprobs):
                    yield out
                if self.ended is not None or self._scanner.refused:
                    return

    def _heard(self, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> list[Event]:
        """What text says; after a call it may only say another."""
        events = self.read(text, logprobs)
        if self.content.called and any(isinstance(event, TextDelta) for event in events):
            self.ended = "stop"
            return [event for event in events if not isinstance(event, TextDelta)]
        return events

    def _head(self, leg: Leg) -> str | None:
        """The function whose arguments are to be written now. Else the answer ended or goes on."""
        if self.ended is not None:
            return None
        if self._scanner.refused:
            name, length = self._scanner.refused
            self.written = self.written[:-length] + f'{{"name": {json.dumps(name)}, "arguments":'
            return name
        if leg.word not in WORDS:
            self.finish(leg)
            return None
        begun = self._scanner.begun()
        if begun is not None:
            self.written += leg.word or ""
        return begun

    async def _call(self, name: str) -> AsyncGenerator[Event, None]:
        """The head of a call and its arguments, which obey the function's schema."""
        head = self._scanner.commit(name)
        yield head
        leg, arguments = Leg(fields=under(held_to(await self._tool(name)))), ""
        async with aclosing(self.leg(leg)) as events:
            async for event in events:
                if not isinstance(event, TextDelta):
                    yield event
                elif event.text:
                    self.written += event.text
                    arguments += event.text
                    yield ToolCallDelta(head.call, event.text, index=self.index)
        if leg.reason == "length":
            self.finish(leg)
            return
        why = self._wrong(name, arguments)
        if why:
            yield invalid(name, why)
        if self.reading.tools.single or self._scanner.calls >= MOST:
            self.ended = "stop"

    async def _tool(self, name: str) -> Tool:
        """The function with what the engine enforces of its schema, which may take a second to find."""
        if name not in self._checked:
            tool = next(tool for tool in self.chat.tools if tool.name == name)
            grammars = self.link.launch.grammars
            (self._checked[name],) = await asyncio.to_thread(
                check_tools, (tool,), grammars, "tools", forced=False
            )
        return self._checked[name]
