"""Sampling fields that /v1/chat/completions and /v1/completions have in common."""

from __future__ import annotations

import re
from typing import Any

from ...core.messages import Sampling
from ..fields import INT32_MAX, Fields, check_number, check_text, wrong_type, wrong_value
from .stream import StreamOptions

MAX_STOPS = 4
MAX_STOP_CHARS = 1024
MAX_BIASES = 300
MAX_CHOICES = 128
_FOREIGN: dict[str, tuple[Any, ...]] = {
    "mirostat": (0,),
    "mirostat_mode": (0,),
    "mirostat_tau": (),
    "mirostat_eta": (),
    "dry_multiplier": (0, 0.0),
    "xtc_probability": (0, 0.0),
    "dynatemp_range": (0, 0.0),
    "top_a": (0, 0.0),
    "tfs": (1, 1.0),
    "use_beam_search": (False,),
    "length_penalty": (1, 1.0),
    "min_tokens": (0,),
    "ignore_eos": (False,),
    "stop_token_ids": ([],),
    "bad_words": ([],),
    "allowed_token_ids": (),
    "include_stop_str_in_output": (False,),
    "skip_special_tokens": (True,),
    "prompt_logprobs": (),
    "truncate_prompt_tokens": (),
}
_TOKEN_ID = re.compile(r"\d{1,10}\Z", re.ASCII)


def read_sampling(body: Fields, max_tokens: int | None) -> Sampling:
    """Temperature and top_p are 1.0 as documented, whatever the model's own defaults are.

    top_k, min_p, typical_p and the penalty of repetition (under two names) are extensions that every
    local server has; left out, the model's or the engine's defaults hold.
    """
    _refuse_foreign(body)
    temperature = body.number("temperature", 0, 2)
    top_p = body.number("top_p", 0, 1)
    top_k = body.whole("top_k", -1, INT32_MAX)
    return Sampling(
        temperature=1.0 if temperature is None else temperature,
        top_p=1.0 if top_p is None else top_p,
        top_k=0 if top_k == -1 else top_k,
        min_p=body.number("min_p", 0, 1),
        typical_p=body.number("typical_p", 0, 1),
        seed=body.seed("seed"),
        repeat_penalty=_repeat_penalty(body),
        repeat_last_n=body.whole("repeat_last_n", -1, INT32_MAX),
        presence_penalty=body.number("presence_penalty", -2, 2),
        frequency_penalty=body.number("frequency_penalty", -2, 2),
        logit_bias=_logit_bias(body),
        max_tokens=max_tokens,
        stop=_stop(body),
    )


def _repeat_penalty(body: Fields) -> float | None:
    """llama.cpp and Ollama call it repeat_penalty, vLLM and Transformers repetition_penalty."""
    ours, theirs = body.number("repeat_penalty", 0.1, 10), body.number("repetition_penalty", 0.1, 10)
    if ours is not None and theirs is not None and ours != theirs:
        wrong_value("repetition_penalty", "the same as 'repeat_penalty', or only one of them", theirs)
    return theirs if ours is None else ours


def _refuse_foreign(body: Fields) -> None:
    """What other servers' extensions do and ours do not is refused, unless it changes nothing."""
    for name, harmless in _FOREIGN.items():
        body.refuse(name, *harmless)


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


def read_stream(body: Fields) -> StreamOptions | None:
    """How to stream; None when the answer is wanted whole."""
    stream = body.flag("stream", False)
    options = body.mapping("stream_options")
    if options is None:
        return StreamOptions() if stream else None
    if not stream:
        wrong_value("stream_options", "it only with 'stream': true")
    usage, obfuscate = options.flag("include_usage", False), options.flag("include_obfuscation", False)
    return StreamOptions(usage, obfuscate)
