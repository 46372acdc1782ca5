"""Pieces of answers that several OpenAI encoders share."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from ... import __version__
from ...core.events import Reason, TokenLogprob
from ...core.usage import Usage
from ..wire import dumps, finite


def fingerprint(build: str) -> str:
    """``system_fingerprint``: the same for the same version of ours and build of the engine."""
    return f"fp_{hashlib.sha256(f'{__version__} {build}'.encode()).hexdigest()[:10]}"


@dataclass(frozen=True, slots=True)
class Head:
    """What every chunk of one answer repeats. ``tier`` is the service tier, when one was asked for;
    ``build`` the engine's, once it is known."""

    id: str
    object: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))
    tier: str | None = None
    build: str = ""

    @classmethod
    def new(cls, prefix: str, kind: str, model: str, *, tier: str | None = None) -> Head:
        """A head with an id of 24 random hex digits."""
        return cls(f"{prefix}-{secrets.token_hex(12)}", kind, model, tier=tier)

    def fields(self, suffix: str = "") -> dict[str, Any]:
        """The fields; ``suffix`` is added to the object's kind (``.chunk``)."""
        fields: dict[str, Any] = {
            "id": self.id,
            "object": self.object + suffix,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": fingerprint(self.build),
        }
        return fields if self.tier is None else {**fields, "service_tier": self.tier}

    def opening(self, suffix: str = "") -> bytes:
        """The fields as the beginning of a JSON object, up to and with the last comma."""
        return dumps(self.fields(suffix))[:-1] + b","


def finish_reason(reason: Reason, called: str = "") -> str:
    """``called``: the reason of a choice that has tool calls, so that clients look at them."""
    if reason in ("stop", "tool_calls") and called:
        return called
    return "length" if reason == "length" else "stop"


def call_id(given: str | None) -> str:
    """The engine's id of a tool call, or a fresh one."""
    return given or f"call_{secrets.token_hex(12)}"


def usage_of(usage: Usage) -> dict[str, Any]:
    """The ``usage`` object of chat and text completions."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def chat_logprobs(tokens: list[TokenLogprob] | tuple[TokenLogprob, ...]) -> dict[str, Any]:
    """The ``logprobs`` object of a chat choice."""
    return {
        "content": [
            {
                "token": t.token,
                "logprob": finite(t.logprob),
                "bytes": list(t.bytes),
                "top_logprobs": [
                    {"token": o.token, "logprob": finite(o.logprob), "bytes": list(o.bytes)} for o in t.top
                ],
            }
            for t in tokens
        ],
        "refusal": None,
    }


def text_logprobs(
    tokens: list[TokenLogprob] | tuple[TokenLogprob, ...], offset: int, alternatives: int
) -> dict[str, Any]:
    """The ``logprobs`` object of a text completion; ``offset`` is where the first token begins.

    The sampled token is always among its alternatives, so there may be one more than asked for.
    """
    offsets, tops = [], []
    for t in tokens:
        offsets.append(offset)
        offset += len(t.token)
        top = {o.token: finite(o.logprob) for o in reversed(t.top[:alternatives])}
        top.setdefault(t.token, finite(t.logprob))
        tops.append(top)
    return {
        "tokens": [t.token for t in tokens],
        "token_logprobs": [finite(t.logprob) for t in tokens],
        "top_logprobs": tops if alternatives else None,
        "text_offset": offsets,
    }
