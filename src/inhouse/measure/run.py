"""Measuring: rounds of requests on one subject, or on several in turns.

The life of a measurement: *warm* (one request, which tells how long words are) · for each number of
clients, for each round, for each subject: all clients send at once · *fold* the rounds into figures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from .figures import Figures, Level
from .plan import Plan
from .sample import Run, Sample, sample
from .texts import request, units


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: anything with ``Engine.run``, and what the model is called there."""

    run: Run
    model: str
    about: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Round:
    """One request of each of ``clients``, the ``number``-th time; all were done after ``seconds``."""

    subject: str
    clients: int
    number: int
    seconds: float
    samples: tuple[Sample, ...]

    @property
    def total(self) -> float:
        """Generated tokens a second of all clients together."""
        return sum(one.answer_tokens for one in self.samples) / self.seconds if self.seconds > 0 else 0.0


async def measure(run: Run, model: str, plan: Plan, *, about: Mapping[str, str] | None = None) -> Figures:
    """Figures of one engine. Raises what ``run`` raises."""
    found = await compare({"": Subject(run, model, about or {})}, plan)
    return found[""]


async def compare(subjects: Mapping[str, Subject], plan: Plan) -> dict[str, Figures]:
    """Figures of several subjects, whose rounds are taken in turns."""
    async with aclosing(rounds(subjects, plan)) as done:
        return fold(subjects, plan, [one async for one in done])


async def rounds(subjects: Mapping[str, Subject], plan: Plan) -> AsyncGenerator[Round, None]:
    """Each round as it is done; the subjects take turns, and another begins each time.

    Closing the generator ends what runs. All subjects are asked the same texts, which each of them hears
    once (but for the first request, where there is one).
    """
    measures = {name: await _warm(one, plan) if plan.warm else None for name, one in subjects.items()}
    number = 1
    for clients in plan.clients:
        for turn in range(plan.rounds):
            for name in _turned(list(subjects), turn):
                yield await _round(name, subjects[name], plan, (clients, turn + 1, number), measures[name])
            number += clients


def _turned(names: list[str], turn: int) -> list[str]:
    cut = turn % len(names)
    return names[cut:] + names[:cut]


async def _warm(subject: Subject, plan: Plan) -> float | None:
    """Tokens of a word (or function) with this subject's tokenizer; None if it does not count."""
    short = replace(plan, answer=min(plan.answer, 8), shared=False)
    seen = await sample(subject.run, request(short, subject.model, 0))
    return seen.prompt_tokens / units(plan) if seen.prompt_tokens else None


async def _round(
    name: str, subject: Subject, plan: Plan, place: tuple[int, int, int], per_unit: float | None
) -> Round:
    clients, turn, number = place
    asked = [request(plan, subject.model, number + i, per_unit=per_unit) for i in range(clients)]
    began = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(sample(subject.run, one)) for one in asked]
    except ExceptionGroup as several:
        raise several.exceptions[0] from several
    return Round(name, clients, turn, time.perf_counter() - began, tuple(task.result() for task in tasks))


def fold(subjects: Mapping[str, Subject], plan: Plan, done: Iterable[Round]) -> dict[str, Figures]:
    """The figures of rounds, by subject; levels without a round are left out."""
    all_rounds = list(done)
    out: dict[str, Figures] = {}
    for name, subject in subjects.items():
        levels = []
        for clients in dict.fromkeys(plan.clients):
            mine = [r for r in all_rounds if r.subject == name and r.clients == clients]
            if mine:
                levels.append(Level.of(clients, [(r.seconds, r.samples) for r in mine]))
        out[name] = Figures(subject.model, plan, tuple(levels), subject.about)
    return out


def told(one: Round, plan: Plan, *, several: bool) -> str:
    """A round for people who wait; ``several`` subjects take turns."""
    who = f"{one.subject}, " if several else ""
    people = "1 client" if one.clients == 1 else f"{one.clients} clients"
    return f"{who}{people}, round {one.number} of {plan.rounds}: {one.total:.1f} tokens/s"


__all__ = ["Round", "Run", "Subject", "compare", "fold", "measure", "rounds", "told"]
