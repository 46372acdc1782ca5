"""Where the time of a request went, for those who may know."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ...core.errors import NotFound
from ...core.models import ModelName
from ...dialects import ollama
from ...journal import RUNNING, Trace, Why, explain
from ..answers import Receive, Scope, Send
from ..kept.query import Query
from ..keys import Keys
from .events import shown as shown_line
from .models import answered
from .watching import seen_by

if TYPE_CHECKING:
    from .services import Services

USUAL, MOST = 20, 1000

_STATES = {"queue": "waiting", "evict": "making room", "load": "loading", "retry": "loading"}
"""What a request is about that an engine has not yet, by the last of its steps."""


async def one(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    running = services.running(str(scope["params"]["id"]), seen_by(services, scope))
    await answered(scope, send, asyncio.to_thread(_one, services, scope, running), ollama.render_error)


async def listed(services: Services, scope: Scope, receive: Receive, send: Send) -> None:
    await answered(scope, send, asyncio.to_thread(_listed, services, scope), ollama.render_error)


def _one(services: Services, scope: Scope, running: list[Trace]) -> bytes:
    query, id = Query.of(scope), str(scope["params"]["id"])
    found = running + services.traces.named(id, seen_by(services, scope))
    if not found:
        raise NotFound(
            f"No request {id[:64]!r} is known.",
            hint="The header x-request-id of an answer names it; the latest are listed by: inhouse why",
        )
    peers, lines = services.traces.items(), services.journal.everything()
    whole = seen_by(services, scope) is None
    if query.flag("all"):
        return msgspec.json.encode(
            {"requests": [_shown(services.keys, explain(each, peers, lines), whole) for each in found[:MOST]]}
        )
    shown = _shown(services.keys, explain(found[0], peers, lines), whole)
    return msgspec.json.encode(shown | {"others": len(found) - 1})


def _listed(services: Services, scope: Scope) -> bytes:
    query, tenant = Query.of(scope), seen_by(services, scope)
    slowest = query.choice("order", "latest", "slowest") == "slowest"
    model = str(ModelName.parse(text)).lower() if (text := query.text("model")) else ""
    limit = query.whole("limit", 1, MOST) or USUAL
    mine = [
        trace
        for trace in reversed(services.traces.items())
        if tenant in (None, trace.tenant) and (not model or trace.model.lower() == model)
    ]
    if slowest:
        mine.sort(key=lambda trace: -trace.seconds)
    return msgspec.json.encode({"requests": [_summary(services.keys, trace) for trace in mine[:limit]]})


def _summary(keys: Keys, trace: Trace) -> dict[str, Any]:
    """One request in a list: what it was, how long it took, what took longest."""
    why = explain(trace)
    longest = max(why.parts, key=lambda part: part.seconds, default=None)
    return _facts(keys, trace) | {
        "longest": {"name": longest.name, "share": round(longest.share, 4)} if longest else None,
        "finding": why.findings[0].what if why.findings else "",
    }


def _state(trace: Trace) -> str:
    """How far a request came."""
    if trace.outcome != RUNNING:
        return "ended"
    if trace.ttft is not None:
        return "answering"
    if trace.engine:
        return "reading"
    return _STATES.get(trace.steps[-1].name, "waiting") if trace.steps else "preparing"


def _facts(keys: Keys, trace: Trace) -> dict[str, Any]:
    """``key`` is the name of the API key that asked, "" where it has none."""
    at = datetime.fromtimestamp(trace.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "request_id": trace.id,
        "key": keys.name(trace.tenant),
        "state": _state(trace),
        "time": at,
        "endpoint": trace.endpoint,
        "task": trace.task,
        "model": trace.model or trace.asked,
        "outcome": trace.outcome,
        "seconds": trace.seconds,
        "ttft": trace.ttft,
        "error": dataclasses.asdict(trace.trouble) if trace.trouble else None,
    }


def _shown(keys: Keys, why: Why, whole: bool) -> dict[str, Any]:
    """The whole way of a request as JSON; without ``whole`` no other request is named."""
    trace = why.trace
    return _facts(keys, trace) | {
        "dialect": trace.dialect,
        "route": trace.route,
        "engine": trace.engine,
        "variant": trace.variant,
        "build": trace.build,
        "pause": trace.pause,
        "tokens": dataclasses.asdict(trace.usage),
        "rates": dataclasses.asdict(why.rates),
        "usual": dataclasses.asdict(why.usual),
        "together": why.together,
        "parts": [dataclasses.asdict(part) for part in why.parts],
        "findings": [dataclasses.asdict(finding) for finding in why.findings],
        "events": [shown_line(line, whole=whole or line.record.request_id == trace.id) for line in why.lines],
    }
