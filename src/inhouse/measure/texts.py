"""The prompts: made from a seed, of any length, alike only where that is wanted. Pure."""

from __future__ import annotations

import random
from typing import Final

from ..core.messages import Message, Sampling, Text
from ..core.requests import Chat, Complete, Request
from .plan import Plan

PER_WORD: Final = 1.35
"""Tokens of a word, until the first answer tells better."""

PER_LINE: Final = 22.0
"""Tokens of one function of the file to be copied, until the first answer tells better."""

_TEXT: Final = """
harbour lantern winter market garden teacher letter window bridge river stone kettle train
island morning shadow doctor village orchard paper engine silver candle mountain forest number
station captain summer library kitchen blanket machine question answer painter cloud signal
carpet valley field neighbour music season basket ladder tower corner harvest voice silence
journey travel walk carry listen build repair gather promise remember open close follow measure
borrow return reach quiet narrow bright heavy early late gentle broken careful distant honest
curious patient common under over behind between across without before after beside until
because while although
"""
_WORDS: Final = tuple(_TEXT.split())

_TOPICS: Final = (
    "how bread is baked in a village oven and why the dough has to rest",
    "how a sailing boat can move against the wind",
    "what happens in a library between closing and opening time",
    "why leaves change their colour in autumn",
    "how a letter travelled across a continent two hundred years ago",
    "how bees find their way back to the hive",
    "what a repairer of old clocks has to know",
    "how rivers shape the valleys that they flow through",
    "why some bridges have arches and others have cables",
    "how glass is made out of sand",
    "what a night train driver sees between two cities",
    "how a small orchestra prepares for a concert",
)

_VERBS: Final = ("load", "save", "parse", "merge", "split", "count", "check", "close", "open", "find")
_NOUNS: Final = ("order", "user", "page", "token", "record", "invoice", "message", "price", "report")


def request(plan: Plan, model: str, number: int, *, per_unit: float | None = None) -> Request:
    """Request ``number`` of a plan. ``per_unit``: tokens of a word, or of a function of the copied file."""
    if plan.task == "copy":
        prompt = _copy(plan, number, per_unit or PER_LINE)
    else:
        prompt = _text(plan, number, per_unit or PER_WORD)
    sampling = Sampling(temperature=plan.temperature, max_tokens=plan.answer)
    if plan.chat:
        return Chat(model=model, messages=(Message("user", (Text(prompt),)),), sampling=sampling)
    return Complete(model=model, prompts=(prompt,), sampling=sampling)


def units(plan: Plan, per_unit: float | None = None) -> int:
    """Words of a prompt, or functions of the copied file."""
    each = per_unit or (PER_LINE if plan.task == "copy" else PER_WORD)
    return max(1, round(plan.prompt / each))


def _random(plan: Plan, number: int) -> random.Random:
    return random.Random(f"{plan.seed}/{number}")  # noqa: S311 - texts, not secrets


def _text(plan: Plan, number: int, per_word: float) -> str:
    own = _random(plan, number)
    topic = _TOPICS[(plan.seed + number) % len(_TOPICS)]
    ending = f"Write a long and detailed text about {topic}." if plan.chat else f"A text about {topic}. It"
    source = _random(plan, -1) if plan.shared else own
    count = units(plan, per_word) - len(ending.split()) - 4
    # What comes first decides whether a prompt cache can help.
    head = "Notes. " if plan.shared else f"Notes {own.randrange(10**6)}. "
    body = _sentences(source, count)
    note = f" Note {own.randrange(10**6)}." if plan.shared else ""
    return f"{head}{body}{note}\n\n{ending}"


def _sentences(source: random.Random, count: int) -> str:
    out: list[str] = []
    while len(out) < count:
        words = [source.choice(_WORDS) for _ in range(min(count - len(out), source.randint(6, 14)))]
        out += [words[0].capitalize(), *words[1:-1], words[-1] + "."] if len(words) > 1 else words
    return " ".join(out)


def _copy(plan: Plan, number: int, per_function: float) -> str:
    """A file of short functions, one of which is to get another name."""
    source = _random(plan, -1 if plan.shared else number)
    count = units(plan, per_function)
    names = [f"{source.choice(_VERBS)}_{source.choice(_NOUNS)}_{source.randrange(100)}" for _ in range(count)]
    lines = [f"# Module {source.randrange(10**6)}", ""]
    for name in names:
        value = source.randrange(2, 100)
        lines += [f"def {name}(value):", f"    return value * {value}", ""]
    file = "\n".join(lines)
    old, new = names[len(names) // 2], f"new_{names[len(names) // 2]}"
    asked = (
        f"Rewrite the whole file below and change only one thing: rename the function {old} to {new}."
        " Answer with the file and nothing else."
    )
    if plan.chat:
        return f"{asked}\n\n```python\n{file}```"
    return f"{file}\n# The same file again, with {old} renamed to {new}:\n\n"


__all__ = ["request", "units"]
