"""What the fake engine is told to do, and the words it recites."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .fake_text import PROSE, Vocabulary

DIRECTIVE = "/fake "


class BadScript(ValueError):
    """An option that the fake engine does not know, or a value it cannot use."""


@dataclass(frozen=True, slots=True)
class Script:
    """What one request does. From the launch, or from a prompt that starts with ``/fake {json}``.

    ``tokens`` None recites ``text`` once (or 32 tokens of prose); ``rate`` is tokens per second and
    choice, 0 as fast as possible; ``prefill`` is seconds. ``echo`` recites the rendered prompt.
    After so many tokens: ``die_after`` ends the process, ``hang_after`` falls silent but stays
    connected, ``error_after`` reports an error in the stream. ``die_in`` "prefill" ends the process
    half-way through it. ``freeze`` stops the whole process (SIGSTOP) where it would hang, or at once.
    ``error`` answers with {"status", "message"}.
    """

    tokens: int | None = None
    rate: float = 0.0
    prefill: float = 0.0
    text: str | None = None
    echo: bool = False
    reasoning: str = ""
    tool_call: dict[str, Any] | None = None
    die_after: int | None = None
    die_in: str = ""
    hang_after: int | None = None
    error_after: int | None = None
    freeze: bool = False
    error: dict[str, Any] | None = None

    def told(self, options: dict[str, Any]) -> Script:
        """This script with other options. Raises BadScript."""
        try:
            return dataclasses.replace(self, **options)
        except TypeError as error:
            raise BadScript(str(error)) from None

    def heard(self, text: str) -> Script:
        """This script as a prompt may change it. Raises BadScript."""
        text = text.lstrip()
        if not text.startswith(DIRECTIVE):
            return self
        try:
            options, _ = json.JSONDecoder().raw_decode(text[len(DIRECTIVE) :].lstrip())
        except ValueError:
            raise BadScript("/fake must be followed by a JSON object") from None
        if not isinstance(options, dict):
            raise BadScript("/fake must be followed by a JSON object")
        return self.told(options)


@dataclass(frozen=True, slots=True)
class Order:
    """The whole launch: where to listen, how to start, and the script of requests that bring none.

    ``address`` is a Unix socket path or ``127.0.0.1:port``. ``load_seconds`` answer 503 first,
    ``never_ready`` for ever. ``crash_at_start`` is the last line on standard error before the end.
    """

    address: str
    secret: str = ""
    slots: int = 4
    context_length: int = 8192
    model: str = "fake"
    load_seconds: float = 0.0
    never_ready: bool = False
    crash_at_start: str = ""
    ignore_sigterm: bool = False
    embedding_length: int = 32
    script: Script = field(default_factory=Script)

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Order:
        """Split launch JSON into what is for the process and what is for requests. Raises BadScript."""
        own = {f.name for f in dataclasses.fields(cls)} - {"script"}
        script = Script().told({k: v for k, v in raw.items() if k not in own})
        try:
            return cls(**{k: v for k, v in raw.items() if k in own}, script=script)
        except TypeError as error:
            raise BadScript(str(error)) from None


@dataclass(frozen=True, slots=True)
class Recital:
    """``count`` tokens: ``pieces`` over and over. ``end`` as llama-server says it: eos, limit, word."""

    pieces: list[str]
    count: int
    end: str
    stopping_word: str = ""


def recite(
    script: Script, prompt: str, vocabulary: Vocabulary, *, limit: int | None, stops: Sequence[str]
) -> Recital:
    """The answer to ``prompt``, cut at ``limit`` tokens or before the first stop string."""
    text = prompt if script.echo else script.text
    pieces = vocabulary.pieces(PROSE if text is None else text)
    count = script.tokens
    if count is None:
        count = 32 if text is None else len(pieces)
    count = count if pieces else 0
    word = ""
    if stops:
        rounds = -(-count // len(pieces)) if pieces else 0
        spoken = "".join((pieces * min(rounds, 3))[:count])
        found = min(((spoken.find(s), s) for s in stops if s and s in spoken), default=None)
        if found is not None:
            pieces, word = vocabulary.pieces(spoken[: found[0]]), found[1]
            count = len(pieces)
    if limit is not None and count > limit:
        return Recital(pieces, limit, "limit")
    return Recital(pieces, count, "word" if word else "eos", word)
