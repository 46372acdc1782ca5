"""Bodies of requests, read and checked. What is not understood is refused by name, never left out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .transformers_http import Refused

_COMMON = {
    "model", "stream", "stream_options", "temperature", "top_p", "top_k", "min_p", "typical_p", "seed",
    "repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias", "stop", "max_tokens",
    "logprobs", "response_format", "structured_outputs",
}  # fmt: skip
_CHAT = _COMMON | {
    "messages", "max_completion_tokens", "top_logprobs", "chat_template_kwargs", "continue_final_message",
    "add_generation_prompt",
}  # fmt: skip
_TEXT = _COMMON | {"prompt", "echo", "add_special_tokens"}


@dataclass(frozen=True)
class Options:
    """How tokens are drawn. ``top`` alternatives are told of each token, None: no log-probabilities.
    ``grammar``: (kind, text) as llguidance takes them (json_schema, grammar, regex)."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    stop: tuple[str, ...] = ()
    most: int | None = None
    top: int | None = None
    grammar: tuple[str, str] | None = None

    @property
    def repeatable(self) -> bool:
        """The same tokens are expected again: nothing may be taken from a cache, for sums that were made
        in pieces of another size differ in the last bits."""
        return self.seed is not None and self.temperature > 0


def chat_options(body: dict[str, Any]) -> Options:
    """Of /v1/chat/completions. Raises Refused."""
    _known(body, _CHAT)
    top = int(_number(body, "top_logprobs", 0, 0, 20)) if body.get("logprobs") else None
    limit = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    return _options(body, limit, top)


def text_options(body: dict[str, Any]) -> Options:
    """Of /v1/completions. Raises Refused."""
    _known(body, _TEXT)
    top = None if body.get("logprobs") is None else int(_number(body, "logprobs", 0, 0, 20))
    return _options(body, "max_tokens", top)


def _known(body: dict[str, Any], fields: set[str]) -> None:
    unknown = [name for name in body if name not in fields and body[name] is not None]
    if unknown:
        raise Refused(400, f"'{unknown[0][:80]}' is not supported", unknown[0][:80])
    if body.get("stream") is not True:
        raise Refused(400, "'stream' must be true", "stream")


def _options(body: dict[str, Any], limit: str, top: int | None) -> Options:
    seed = body.get("seed")
    most = None if body.get(limit) is None else int(_number(body, limit, 0, 1, 2**31))
    return Options(
        temperature=_number(body, "temperature", 1.0, 0, 10),
        top_p=_number(body, "top_p", 1.0, 0, 1),
        top_k=max(0, int(_number(body, "top_k", 0, -1, 2**31))),
        min_p=_number(body, "min_p", 0.0, 0, 1),
        typical_p=_number(body, "typical_p", 1.0, 0, 1),
        repetition_penalty=_number(body, "repetition_penalty", 1.0, 0.01, 10),
        presence_penalty=_number(body, "presence_penalty", 0.0, -10, 10),
        frequency_penalty=_number(body, "frequency_penalty", 0.0, -10, 10),
        logit_bias=_biases(body),
        seed=None if seed is None else int(_number(body, "seed", 0, 0, 2**63)),
        stop=_stops(body),
        most=most,
        top=top,
        grammar=_grammar(body),
    )


def _number(body: dict[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Refused(400, f"'{name}' must be a number from {low:g} to {high:g}", name)
    return value


def _stops(body: dict[str, Any]) -> tuple[str, ...]:
    value = body.get("stop") or []
    many = [value] if isinstance(value, str) else value
    if not isinstance(many, list) or not all(isinstance(one, str) and one for one in many):
        raise Refused(400, "'stop' must be a string or strings", "stop")
    return tuple(many)


def _biases(body: dict[str, Any]) -> tuple[tuple[int, float], ...]:
    value = body.get("logit_bias") or {}
    try:
        return tuple((int(token), float(bias)) for token, bias in value.items())
    except (AttributeError, TypeError, ValueError):
        raise Refused(400, "'logit_bias' must map token ids to numbers", "logit_bias") from None


def _grammar(body: dict[str, Any]) -> tuple[str, str] | None:
    """A language that the answer is held to, as (kind, text)."""
    wanted, structured = body.get("response_format"), body.get("structured_outputs")
    for name, value in (("response_format", wanted), ("structured_outputs", structured)):
        if value is not None and not isinstance(value, dict):
            raise Refused(400, f"'{name}' must be an object", name)
    if isinstance(wanted, dict) and wanted.get("type") != "text":
        return "json_schema", json.dumps(_schema(wanted))
    if isinstance(structured, dict):
        for name, kind in (("grammar", "grammar"), ("regex", "regex")):
            if isinstance(structured.get(name), str):
                return kind, structured[name]
        raise Refused(400, "'structured_outputs' needs a grammar or a regex", "structured_outputs")
    return None


def _schema(wanted: dict[str, Any]) -> dict[str, Any]:
    described = wanted.get("json_schema")
    if wanted.get("type") == "json_object":
        return {"type": "object"}
    schema = described.get("schema") if isinstance(described, dict) else None
    if wanted.get("type") == "json_schema" and isinstance(schema, dict):
        return schema
    raise Refused(400, "'response_format' needs a schema", "response_format")
