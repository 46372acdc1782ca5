"""Thinking: what a request asks for, and the signatures of thinking blocks.

A signature of ours is opaque to clients. Where the thoughts are shown it is a digest of them; where
they are left out (``display: omitted``) it carries them, so that the next turn has them again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from ...core.errors import BadRequest
from ..fields import INT32_MAX, Fields, missing

LEAST_BUDGET = 1024
_SHOWN, _HIDDEN = b"inhouse\x01", b"inhouse\x02"


@dataclass(frozen=True, slots=True)
class Thinking:
    """``think`` must be possible, ``wish`` holds for models that can. ``hidden``: leave the text out."""

    think: bool | str | None = False
    wish: bool | str | None = None
    budget: int | None = None
    hidden: bool = False


def read_thinking(body: Fields, effort: str | None, ceiling: int | None) -> Thinking:
    """``ceiling`` is what the budget must stay below, None when nothing binds it.

    Without the field nothing is thought, unless an effort is asked for. ``adaptive`` leaves it to the model.
    """
    wanted = body.mapping("thinking")
    if wanted is None:
        return Thinking() if effort is None else Thinking(None, effort)
    kind = wanted.text("type")
    if kind is None:
        missing(wanted.at("type"), "'enabled', 'adaptive' or 'disabled'")
    if kind == "between_tools":
        wanted.refuse("type", why="Use 'disabled', 'adaptive' or 'enabled'.")
    wanted.choice("type", "enabled", "adaptive", "disabled")
    if kind == "disabled":
        return Thinking()
    if wanted.text("display") == "updates":
        wanted.refuse("display", why="Use 'summarized' or 'omitted'.")
    hidden = wanted.choice("display", "summarized", "omitted") == "omitted"
    wanted.object("block_binding")
    wanted.note("block_binding")  # no block is ever refused
    if kind == "adaptive":
        return Thinking(None, effort, None, hidden)
    budget = wanted.whole("budget_tokens", LEAST_BUDGET, INT32_MAX)
    if budget is None:
        missing(wanted.at("budget_tokens"), f"a whole number from {LEAST_BUDGET}")
    if ceiling is not None and budget >= ceiling:
        raise BadRequest(
            "`max_tokens` must be greater than `thinking.budget_tokens`.",
            hint="Raise one or lower the other.",
            param=wanted.at("budget_tokens"),
        )
    return Thinking(effort or True, None, budget, hidden)


class Signer:
    """Makes the signature of one thinking block, piece by piece."""

    __slots__ = ("_digest", "_kept")

    def __init__(self, hidden: bool) -> None:
        self._digest = hashlib.sha256()
        self._kept: list[bytes] | None = [] if hidden else None

    def add(self, text: str) -> None:
        raw = text.encode("utf-8", "replace")
        if self._kept is None:
            self._digest.update(raw)
        else:
            self._kept.append(raw)

    def signature(self) -> str:
        shown = self._kept is None
        body = _SHOWN + self._digest.digest() if shown else _HIDDEN + b"".join(self._kept or ())
        return base64.b64encode(body).decode()


def recover(signature: str) -> str:
    """The thoughts that a signature of ours carries; empty for any other."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except (ValueError, binascii.Error):
        return ""
    return raw[len(_HIDDEN) :].decode("utf-8", "replace") if raw.startswith(_HIDDEN) else ""
