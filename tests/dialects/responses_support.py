"""Shared by the tests of the Responses API's codec."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from inhouse.core.events import Event
from inhouse.dialects.openai.responses import Head, Order, ResponseEncoder, Style, decode_count, decode_create

BASE: dict[str, Any] = {"model": "m", "input": "hi"}
FUNCTION = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
CUSTOM = {"type": "custom", "name": "patch"}


def order(**fields: Any) -> Order:
    return decode_create(json.dumps(BASE | fields).encode())


def count(**fields: Any) -> Order:
    return decode_count(json.dumps(BASE | fields).encode())


def composed(*items: Any, **fields: Any) -> Any:
    """The messages of these input items."""
    asked = order(input=list(items), **fields)
    placed = [(f"input[{i}]", item) for i, item in enumerate(asked.items)]
    return asked.compose(placed, {}).messages


def encoder(asked: Order | None = None, **style: Any) -> ResponseEncoder:
    asked = asked or order()
    wanted = {"streaming": asked.stream, "summary": asked.summary, "sealed": asked.sealed}
    wanted |= {"obfuscate": asked.obfuscate, **style}
    return ResponseEncoder(Head(asked.echo, store=True), asked.offers, Style(**wanted))


def stream(events: Iterable[Event], asked: Order | None = None, **style: Any) -> list[dict[str, Any]]:
    """The data of the events that are sent; the names on the lines are checked on the way."""
    made = encoder(asked, streaming=True, **style)
    return sent(b"".join(made.feed(event) for event in events))


def sent(data: bytes) -> list[dict[str, Any]]:
    out = []
    for block in data.decode().split("\n\n"):
        if not block or block.startswith(":"):
            continue
        name, line = block.split("\n")
        value = json.loads(line.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        out.append(value)
    return out


def whole(events: Iterable[Event], asked: Order | None = None, **style: Any) -> dict[str, Any]:
    made = encoder(asked, streaming=False, **style)
    data = b"".join(made.feed(event) for event in events)
    return dict(json.loads(data))


def as_decoded(asked: Order) -> Any:
    """An order as the tests of reference pages see a request: all that has an effect, and what has none."""
    hints = ("user", "safety_identifier", "prompt_cache_key", "max_tool_calls")
    echo = {name: value for name, value in asked.echo.items() if name not in hints}
    items = [{k: v for k, v in item.items() if k != "id"} for item in asked.items]
    request = (dataclasses.replace(asked, echo={}, noted=(), items=()), items, echo)
    return SimpleNamespace(request=request, encoder=None, noted=asked.noted)
