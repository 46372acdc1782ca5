"""Which beginnings of prompts are asked for again, and whether saving one pays. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from .marks import Marks

REMEMBERED: Final = 2**16
"""Marks of earlier prompts that are kept in mind: some 4 MiB of text."""

HEAD: Final = 1024
"""Tokens from which tools and system messages are taken to come again, though seen only once."""

UNPROVEN: Final = 8
"""Saved prompts that were of no use yet; while there are so many, nothing is saved that was seen once."""


@dataclass(frozen=True, slots=True)
class Rules:
    """``minimum`` tokens that are worth saving or restoring. ``sharing`` between tenants: all, memory (but
    not what is saved) or none. ``quiet`` seconds without a request come before a save, if they come within
    ``patience``."""

    minimum: int = 256
    sharing: str = "memory"
    quiet: float = 0.1
    patience: float = 5.0


class Seen:
    """Remembers the marks of prompts, and by which request each was last brought."""

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[str, bytes], int] = OrderedDict()

    def note(self, owner: str, marks: Marks, request: int) -> int:
        """Remember a prompt; how many of its leading blocks another request has brought before."""
        depth = 0
        for count, mark in enumerate(marks.chain, 1):
            key = (owner, mark)
            if self._last.get(key, request) != request:
                depth = count
            self._last[key] = request
            self._last.move_to_end(key)
        while len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        return depth


def hot(marks: Marks, seen: int, tokens: int, *, pinned: bool, unproven: int = 0) -> int:
    """How many leading blocks of a prompt of ``tokens`` tokens will be asked for again: those that were
    ``seen`` before, all of a ``pinned`` one, and a long head unless too many such are ``unproven``."""
    if pinned:
        return len(marks.chain)
    if unproven >= UNPROVEN:
        return seen
    head = marks.within(marks.head)
    return max(seen, head if tokens * marks.share(head) >= HEAD else 0)


def pays(wanted: int, there: int, rules: Rules) -> bool:
    """Whether to save ``wanted`` tokens where the first ``there`` of them are saved already."""
    return wanted >= rules.minimum and wanted - there >= max(rules.minimum, there // 2)
