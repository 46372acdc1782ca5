"""What a request leaves open, filled in: sampling by the model's and the dialect's defaults, and texts
that a model would read as control tokens broken."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Final, TypeVar

from ...core.errors import BadRequest, Unsupported
from ...core.events import Notice
from ...core.messages import Message, Part, Reasoning, Sampling, Text, ToolCall, ToolResult
from ...core.models import Card
from ...core.requests import Chat, Complete, Request
from ...dialects.llamaserver.escape import escape
from ...dialects.llamaserver.sampling import max_tokens, merged, stops
from ...dialects.openai.client.sampling import NEUTRAL

R = TypeVar("R", Chat, Complete)

_FIELDS: Final = ("temperature", "top_p", *NEUTRAL, "repeat_last_n")
_NAMES: Final = {"repeat_penalty": ("repeat_penalty", "repetition_penalty")}
_ALWAYS: Final = ("temperature", "top_p")


def settled(request: R, card: Card, takes: frozenset[str]) -> tuple[R, list[Notice]]:
    """The request with all defaults in its sampling, and what of them this server cannot keep.

    What the request asks for by itself stays, for the encoder to refuse; a default that the server has
    no field for is left out and told of.
    """
    own = request.sampling
    values: dict[str, Any] = {}
    lost = []
    for field in _FIELDS:
        value = merged(own, card, field)
        if value is None:
            continue
        known = field in _ALWAYS or any(name in takes for name in _NAMES.get(field, (field,)))
        if getattr(own, field) is None and not known:
            if value not in NEUTRAL.get(field, ()) and field != "repeat_last_n":
                lost.append(field)
            continue
        values[field] = value
    seed = merged(own, card, "seed")
    most = max_tokens(own, card)
    sampling = Sampling(
        **values,
        seed=None if seed is None or seed < 0 else int(seed),
        logit_bias=_biases(own, card),
        max_tokens=None if most < 0 else most,
        stop=tuple(stops(own, card)),
    )
    told = [Notice("default_not_applied", _told(lost))] if lost else []
    return dataclasses.replace(request, sampling=sampling), told


def _told(lost: list[str]) -> str:
    return f"The engine that runs this model has no {', '.join(lost)}: those defaults are not applied."


def _biases(own: Sampling, card: Card) -> tuple[tuple[int, float], ...]:
    for token, _ in own.logit_bias:
        if token < 0 or (card.vocabulary and token >= card.vocabulary):
            raise BadRequest(
                f"logit_bias names the token {token}, but the model has {card.vocabulary} tokens.",
                hint="Use token ids of this model.",
                param="logit_bias",
            )
    return own.logit_bias


def without_control(chat: Chat, card: Card) -> Chat:
    """The chat with the texts of control tokens broken, so that none of them becomes one."""
    if not card.control_tokens:
        return chat
    return dataclasses.replace(chat, messages=tuple(_plain(m, card.control_tokens) for m in chat.messages))


def _plain(message: Message, tokens: tuple[str, ...]) -> Message:
    def parts() -> Iterator[Part]:
        for part in message.parts:
            match part:
                case Text() | Reasoning() | ToolResult():
                    yield dataclasses.replace(part, text=escape(part.text, tokens))
                case ToolCall():
                    yield dataclasses.replace(part, arguments=escape(part.arguments, tokens))
                case _:
                    yield part

    return dataclasses.replace(message, parts=tuple(parts()))


def check(request: Request) -> None:
    """Raise Unsupported for what no server of this wire does."""
    if request.adapters:
        raise Unsupported(
            "The engine that runs this model takes no adapters with a request.",
            hint="Run the model as GGUF with llama.cpp, or merge the adapter into it.",
            param="adapters",
        )
    if isinstance(request, Complete) and request.best_of not in (None, request.n):
        raise Unsupported(
            "The engine that runs this model cannot choose the best of several candidates.",
            hint="Leave it out, or ask for as many with n.",
            param="best_of",
        )


__all__ = ["check", "settled", "without_control"]
