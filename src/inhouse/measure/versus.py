"""Ratios of two subjects: of rounds taken in turns, or of two runs apart. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Final

from .figures import Figures, Spread, ratio
from .run import Round

_RATES: Final = ("prefill", "decode", "total")


def in_turns(done: Iterable[Round], ours: str, other: str) -> list[dict[str, Any]]:
    """Ours over the other's for each number of clients, round by round: above 1 is faster."""
    rounds = list(done)
    rates = {"prefill": prefill, "decode": decode, "total": total, "ttft": _promptness}
    rows: list[dict[str, Any]] = []
    for clients in dict.fromkeys(one.clients for one in sorted(rounds, key=_number)):
        same = [one for one in rounds if one.clients == clients]
        row = {name: _json(times(same, ours, other, rate)) for name, rate in rates.items()}
        rows.append({"clients": clients, **row})
    return rows


def times(done: Iterable[Round], ours: str, other: str, rate: Callable[[Round], float]) -> Spread:
    """``rate`` of ours over the other's, round by round."""
    rounds = sorted(done, key=_number)
    return ratio(*([rate(one) for one in rounds if one.subject == who] for who in (ours, other)))


def _number(one: Round) -> int:
    return one.number


def _mean(values: Iterable[float]) -> float:
    found = [value for value in values if value > 0]
    return sum(found) / len(found) if found else 0.0


def prefill(one: Round) -> float:
    return _mean(s.prefill_rate for s in one.samples)


def decode(one: Round) -> float:
    return _mean(s.decode_rate for s in one.samples)


def total(one: Round) -> float:
    return one.total


def _promptness(one: Round) -> float:
    """First tokens a second, so that more is better here, too."""
    seconds = _mean(s.ttft for s in one.samples)
    return 1 / seconds if seconds else 0.0


def apart(now: Figures, before: Figures) -> list[dict[str, Any]]:
    """Now over before, where both were measured: the medians', with the least and the most that the two
    spreads allow, since runs that were not taken in turns share no disturbance."""
    rows: list[dict[str, Any]] = []
    for level in now.levels:
        other = before.level(level.clients)
        if other is None:
            continue
        row: dict[str, Any] = {"clients": level.clients}
        for name in _RATES:
            row[name] = _json(_over(getattr(level, name), getattr(other, name)))
        row["ttft"] = _json(_over(other.ttft, level.ttft))
        rows.append(row)
    return rows


def _over(a: Spread, b: Spread) -> Spread:
    if not (a.median and b.median and b.low and b.high):
        return Spread()
    return Spread(a.median / b.median, a.low / b.high, a.high / b.low, min(a.count, b.count))


def _json(spread: Spread) -> dict[str, Any]:
    return {key: round(value, 3) for key, value in dataclasses.asdict(spread).items()}


def gains(done: Iterable[Round], new: str, old: str, rate: Callable[[Round], float]) -> list[float]:
    """``rate`` of the new over that of the old, for each round that both have finished."""
    both: dict[tuple[int, int], dict[str, Round]] = {}
    for one in done:
        both.setdefault((one.clients, one.number), {})[one.subject] = one
    pairs = ((rate(pair[new]), rate(pair[old])) for pair in both.values() if len(pair) == 2)
    return [a / b for a, b in pairs if a > 0 and b > 0]


__all__ = ["apart", "decode", "gains", "in_turns", "prefill", "times", "total"]
