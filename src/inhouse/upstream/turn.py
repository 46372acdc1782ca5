"""A worker's link as one request sees it: at its desk, on its terms."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from ..core.events import Event
from ..dialects.llamaserver import Order
from .desk import Desk
from .http import Asking, Decoder, Link
from .seat import Terms

_COMPUTED = ("/v1/embeddings", "/rerank")
"""Calls that take slots of the engine's own choice."""


class Turn(Link):
    """Everything goes over ``line``; each generation takes a seat first."""

    def __init__(self, line: Link, desk: Desk, terms: Terms) -> None:
        super().__init__(line.launch)
        self.terms = terms
        self._line = line
        self._desk = desk

    async def call(self, path: str, body: Mapping[str, Any], *, param: str) -> bytes:
        if path not in _COMPUTED:
            return await self._line.call(path, body, param=param)
        self._desk.stray(1)
        try:
            return await self._line.call(path, body, param=param)
        finally:
            self._desk.stray(-1)

    async def events(self, order: Asking, decoder: Decoder) -> AsyncGenerator[Event, None]:
        seat = await self._desk.sit(self.terms, order.body)
        if isinstance(order, Order):
            order = dataclasses.replace(order, body=dict(seat.body))
        try:
            async with aclosing(self._line.events(order, decoder)) as events:
                async for event in events:
                    yield event
        finally:
            self._desk.rise(seat, getattr(decoder, "tally", None) if decoder.done else None)
