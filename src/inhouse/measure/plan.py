"""What is measured: how long the prompts and answers are, for how many clients, how often."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final, Literal

from ..core.errors import BadRequest

Task = Literal["text", "copy"]

MOST_TOKENS: Final = 1_000_000
MOST_CLIENTS: Final = 256
MOST_ROUNDS: Final = 1000


@dataclass(frozen=True, slots=True)
class Plan:
    """``prompt`` and ``answer`` are tokens of each request; a round is one request of each client, all sent
    at once, and there are ``rounds`` of them for each number of ``clients``.

    ``task`` text: to go on with a text, which says what ordinary answers cost; copy: to rewrite a file with
    one small change, whose tokens can be guessed. ``chat`` asks as a conversation, else as a raw text.
    ``shared``: all prompts begin alike, so that a prompt cache helps; otherwise no two do. ``warm`` sends
    one request first that is not counted and tells how many tokens a word is. ``seed`` makes the texts;
    the same one gives the same texts, so a prompt cache may know them. ``temperature`` 0 is greedy.

    Raises BadRequest when a number makes no sense.
    """

    prompt: int = 512
    answer: int = 128
    clients: tuple[int, ...] = (1,)
    rounds: int = 3
    task: Task = "text"
    chat: bool = False
    shared: bool = False
    warm: bool = True
    temperature: float = 0.0
    seed: int = field(default_factory=lambda: secrets.randbits(32))

    def __post_init__(self) -> None:
        _check("prompt", self.prompt, MOST_TOKENS)
        _check("tokens", self.answer, MOST_TOKENS)
        _check("rounds", self.rounds, MOST_ROUNDS)
        if not self.clients:
            raise BadRequest("no number of clients is given", hint="For instance 1,2,4,8.", param="clients")
        for count in self.clients:
            _check("clients", count, MOST_CLIENTS)
        if self.task not in ("text", "copy"):
            raise BadRequest("the task is text or copy", param="task")
        if not 0 <= self.temperature <= 2:
            raise BadRequest("the temperature must be 0 to 2", param="temperature")

    @property
    def requests(self) -> int:
        """How many there are, without the first."""
        return sum(self.clients) * self.rounds


def _check(name: str, value: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise BadRequest(f"{name} must be a whole number from 1 to {most}", param=name)
