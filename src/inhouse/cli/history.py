"""What happened, for people: events as lines, the way of a request as a timeline with bars."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from .. import config
from . import output, server
from .client import Client

Json = Mapping[str, Any]

COLOURS = {
    "load_failed": "red",
    "restart": "red",
    "refusal": "yellow",
    "eviction": "yellow",
    "fallback": "yellow",
    "retry": "yellow",
    "server": "bold",
}
_BAR = 28


def client() -> Client | None:
    """The server that knows, started if need be; None when nothing was ever written down here.

    The journal outlives the server and only a server reads it, so one is started to tell of it, but none
    to say that nothing happened.
    """
    settings = config.load(os.environ)
    found = server.find(settings)
    if found is None and settings.origins.get("server.host", "default") == "default":
        folder = settings.home / "journal"
        if not folder.is_dir() or not any(folder.iterdir()):
            return None
    return found or server.connect(settings)


def path(base: str, **query: Any) -> str:
    """``base`` with a query of what is not None."""
    given = {name: value for name, value in query.items() if value is not None}
    return base + (f"?{urlencode(given)}" if given else "")


def when(text: str, now: datetime) -> str:
    """An ISO time as the clock on the wall shows it; with the date when that is another day."""
    try:
        at = datetime.fromisoformat(text).astimezone(now.tzinfo)
    except ValueError:
        return text
    return at.strftime("%H:%M:%S" if at.date() == now.date() else "%Y-%m-%d %H:%M:%S")


def show_event(event: Json, now: datetime) -> None:
    """Time, kind, model and cause on a line; what to do below it."""
    kind = str(event.get("kind") or "")
    facts = event.get("facts") or {}
    times = f" ({facts['times']} more like it)" if facts.get("times") else ""
    model = f"{event['model']}: " if event.get("model") else ""
    head = f"{when(str(event.get('time') or ''), now)}  {kind.ljust(11)}"
    output.labelled(head, COLOURS.get(kind, ""), f"{model}{event.get('cause') or ''}{times}")
    indent = " " * (len(head) + 2)
    if event.get("remedy"):
        output.data(f"{indent}Help: {event['remedy']}")
    if event.get("request_id"):
        output.data(f"{indent}Request: {event['request_id']}")


def requests(entries: Sequence[Json], now: datetime) -> str:
    """The table of ``inhouse why`` without an id."""
    rows = []
    for one in entries:
        longest = one.get("longest") or {}
        share = f"{longest.get('name')} {float(longest.get('share') or 0):.0%}" if longest else "-"
        ttft = one.get("ttft")
        rows.append(
            (
                str(one.get("request_id", "")),
                when(str(one.get("time") or ""), now),
                str(one.get("model") or "-"),
                str(one.get("outcome") or ""),
                output.seconds(float(one.get("seconds") or 0)),
                output.seconds(float(ttft)) if ttft is not None else "-",
                share,
            )
        )
    return output.table(("REQUEST", "TIME", "MODEL", "OUTCOME", "TOOK", "FIRST", "LONGEST"), rows)


def way(one: Json, now: datetime) -> str:
    """The way of one request: what it was, the timeline, rates, what would help, what happened meanwhile."""
    blocks = [_head(one, now), _timeline(one.get("parts") or []), _rates(one), _help(one)]
    happened = one.get("events") or []
    if happened:
        lines = (f"  {when(str(e.get('time')), now)}  {e.get('kind')}: {e.get('cause')}" for e in happened)
        blocks.append("\n".join(["Meanwhile:", *lines]))
    if one.get("others"):
        blocks.append(f"{one['others']} more requests had this id; see them with --all.")
    return "\n\n".join(block for block in blocks if block)


def _head(one: Json, now: datetime) -> str:
    first = f", first token after {output.seconds(float(one['ttft']))}" if one.get("ttft") is not None else ""
    by = "/".join(str(one[key]) for key in ("engine", "variant", "build") if one.get(key))
    key = f"  key {one['key']}" if one.get("key") else ""
    running = one.get("outcome") == "running"
    outcome = f"still running ({one.get('state')})," if running else f"{one.get('outcome')} in"
    lines = [
        f"{one.get('request_id')}  {one.get('endpoint')}  {when(str(one.get('time')), now)}{key}",
        f"{one.get('model') or 'no model'}{f' on {by}' if by else ''}: {outcome}"
        f" {output.seconds(float(one.get('seconds') or 0))}{' so far' if running else ''}{first}",
    ]
    return "\n".join(lines)


def _timeline(parts: Sequence[Json]) -> str:
    full = "█" if "utf" in (sys.stdout.encoding or "").lower() else "#"
    lines = []
    for part in parts:
        share = min(1.0, max(0.0, float(part.get("share") or 0)))
        bar = full * (round(share * _BAR) or (1 if share >= 0.005 else 0))
        took = output.seconds(float(part.get("seconds") or 0))
        cause = str(part.get("cause") or "")
        lines.append(
            f"  {part.get('name', '')!s:<8} {took:>8} {share:>5.0%}  {bar.ljust(_BAR)}  {cause}".rstrip()
        )
    return "\n".join(lines)


def _rates(one: Json) -> str:
    rates, usual, tokens = one.get("rates") or {}, one.get("usual") or {}, one.get("tokens") or {}
    lines = list(_speeds(rates, usual))
    if rates.get("cached") is not None:
        lines.append(
            f"  from cache  {rates['cached']:.0%} of {tokens.get('prompt_tokens', 0):,} prompt tokens"
        )
    if rates.get("accepted") is not None:
        lines.append(
            f"  guessed     {tokens.get('drafted_tokens', 0):,} tokens, {rates['accepted']:.0%} of them right"
        )
    if float(one.get("together") or 1) >= 1.5:
        lines.append(f"  at once     {float(one['together']):.1f} requests ran on the model meanwhile")
    return "\n".join(lines)


def _speeds(rates: Json, usual: Json) -> Iterator[str]:
    for name in ("prefill", "decode"):
        if rates.get(name) is not None:
            often = f" (usually {usual[name]:,.1f})" if usual.get(name) is not None else ""
            yield f"  {name.ljust(10)}  {rates[name]:,.1f} tokens/s{often}"


def _help(one: Json) -> str:
    findings = one.get("findings") or []
    if not findings:
        return "Nothing stands out."
    lines = ["What stands out:"]
    for finding in findings:
        lines.append(f"  - {finding.get('what')}")
        if finding.get("remedy"):
            lines.append(f"    Help: {finding['remedy']}")
    return "\n".join(lines)
