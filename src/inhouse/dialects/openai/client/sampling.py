"""Sampling as fields of OpenAI's wire, each only where the server takes it."""

from __future__ import annotations

from typing import Any, Final

from ....core.messages import Sampling
from .features import need

NEUTRAL: Final[dict[str, tuple[float, ...]]] = {
    "top_k": (0, -1),
    "min_p": (0.0,),
    "typical_p": (1.0,),
    "repeat_penalty": (1.0,),
    "presence_penalty": (0.0,),
    "frequency_penalty": (0.0,),
}
"""Values that change nothing: no server needs to know the field for these."""

_SEEDS: Final = 2**31
"""Seeds are folded into what every server takes as one."""


def encode_sampling(sampling: Sampling, takes: frozenset[str]) -> dict[str, Any]:
    """All fields but the limit of tokens. Raises Unsupported for what the server does not take."""
    body: dict[str, Any] = {}
    for field in ("temperature", "top_p"):
        if (value := getattr(sampling, field)) is not None:
            body[field] = value
    for field, neutral in NEUTRAL.items():
        value = getattr(sampling, field)
        if value is not None and not (value in neutral and field not in takes):
            body[named(field, takes)] = value
    if sampling.repeat_last_n is not None and body.keys() & {"repeat_penalty", "repetition_penalty"}:
        need(takes, "repeat_last_n", "repeat_last_n")
        body["repeat_last_n"] = sampling.repeat_last_n
    if sampling.seed is not None and sampling.seed >= 0:
        need(takes, "seed", "seed")
        body["seed"] = sampling.seed % _SEEDS
    if texts := [text for text in sampling.stop if text]:
        need(takes, "stop", "stop")
        body["stop"] = texts
    if sampling.logit_bias:
        need(takes, "logit_bias", "logit_bias")
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    return body


def named(field: str, takes: frozenset[str]) -> str:
    """What the server calls a field. Raises Unsupported where it has none of its names."""
    if field == "repeat_penalty" and "repetition_penalty" in takes:
        return "repetition_penalty"
    need(takes, field, field)
    return field
