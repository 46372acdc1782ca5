"""Sampling fields that /v1/chat/completions and /v1/completions have in common."""

from __future__ import annotations

import re

from ...core.messages import Sampling
from ..fields import INT32_MAX, Fields, check_number, check_text, wrong_type, wrong_value

MAX_STOPS = 4
MAX_STOP_CHARS = 1024
MAX_BIASES = 300
MAX_CHOICES = 128
_TOKEN_ID = re.compile(r"\d{1,10}\Z", re.ASCII)


def read_sampling(body: Fields, max_tokens: int | None) -> Sampling:
    """Temperature and top_p are 1.0 as documented, whatever the model's own defaults are.

    top_k, min_p and repeat_penalty are extensions that every local server has; left out, the model's
    or the engine's defaults hold.
    """
    temperature = body.number("temperature", 0, 2)
    top_p = body.number("top_p", 0, 1)
    top_k = body.whole("top_k", -1, INT32_MAX)
    return Sampling(
        temperature=1.0 if temperature is None else temperature,
        top_p=1.0 if top_p is None else top_p,
        top_k=0 if top_k == -1 else top_k,
        min_p=body.number("min_p", 0, 1),
        seed=body.seed("seed"),
        repeat_penalty=body.number("repeat_penalty", 0.1, 10),
        presence_penalty=body.number("presence_penalty", -2, 2),
        frequency_penalty=body.number("frequency_penalty", -2, 2),
        logit_bias=_logit_bias(body),
        max_tokens=max_tokens,
        stop=_stop(body),
    )


def _stop(body: Fields) -> tuple[str, ...]:
    value = body.get("stop")
    if value is None:
        return ()
    if not isinstance(value, str | list):
        wrong_type("stop", f"a string or an array of at most {MAX_STOPS} strings", value)
    many = value if isinstance(value, list) else [value]
    if len(many) > MAX_STOPS:
        wrong_value("stop", f"at most {MAX_STOPS} strings", len(many))
    for i, text in enumerate(many):
        param = f"stop[{i}]" if isinstance(value, list) else "stop"
        if not 1 <= len(check_text(param, text)) <= MAX_STOP_CHARS:
            wrong_value(param, f"a string of 1 to {MAX_STOP_CHARS} characters")
    return tuple(many)


def _logit_bias(body: Fields) -> tuple[tuple[int, float], ...]:
    biases = body.object("logit_bias") or {}
    if len(biases) > MAX_BIASES:
        wrong_value("logit_bias", f"at most {MAX_BIASES} entries", len(biases))
    out = []
    for key, value in biases.items():
        if not _TOKEN_ID.match(key) or int(key) > INT32_MAX:
            wrong_value("logit_bias", "token ids as keys", key)
        out.append((int(key), check_number(f"logit_bias.{key}", value, -100, 100)))
    return tuple(out)


def read_stream(body: Fields) -> tuple[bool, bool]:
    """Whether to stream, and whether to send the usage at the end of the stream."""
    stream = body.flag("stream", False)
    options = body.mapping("stream_options")
    if options is None:
        return stream, False
    if not stream:
        wrong_value("stream_options", "it only with 'stream': true")
    options.flag("include_obfuscation")
    options.note("include_obfuscation")
    return stream, options.flag("include_usage", False)


def read_hints(body: Fields) -> None:
    """Fields that say who asks or how to cache: checked, accepted, without effect here."""
    for name in ("user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"):
        body.text(name)
    for name in ("metadata", "prompt_cache_options"):
        body.object(name)
    body.choice("service_tier", "auto", "default", "flex", "scale", "priority", "fast")
    body.note(
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prompt_cache_options",
        "metadata",
        "service_tier",
    )
