"""Requests as bodies of llama-server's endpoints, with how to read what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.errors import BadRequest, Unsupported
from ...core.messages import Format
from ...core.models import Card
from ...core.requests import Chat, Complete
from . import messages, sampling, tools
from .content import Reading

STREAM: dict[str, Any] = {"stream": True, "cache_prompt": True}
"""Always streamed: leaving then frees the slot, and there is one path to test."""

WORTH_TELLING = 2000
"""Characters of prompt from which prefill progress is asked for. A short prompt is read before anybody
looks, and on a machine with few cores waking up to hear of it delays the first token."""


@dataclass(frozen=True, slots=True)
class Order:
    """A call of an endpoint and how to read its answer."""

    path: str
    body: dict[str, Any]
    reading: Reading


def encode_chat(chat: Chat, card: Card, *, limit: int | None = None) -> Order:
    """A conversation for /v1/chat/completions; ``limit`` caps the tokens to generate.

    Raises Unsupported, naming the field, for what this model cannot do, BadRequest for what none can.
    """
    chosen = tools.plan(chat, card)
    body = template_fields(chat, card, chosen) | sampling.encode(chat.sampling, card, limit) | STREAM
    body["return_progress"] = sum(len(m.text) for m in chat.messages) >= WORTH_TELLING
    body["stream_options"] = {"include_usage": True}
    body["n"] = chat.n
    if chat.logprobs is not None:
        body["logprobs"] = True
        body["top_logprobs"] = max(1, chat.logprobs)  # 0 would switch them off
    _constrain(body, chat.format, chosen)
    if chosen.mode == "forced":
        body.pop("stop", None)  # stop strings end texts, not the JSON of a call
    if "stop" in body:
        body["verbose"] = True  # the only way to hear which stop string was hit
    return Order("/v1/chat/completions", body, chat_reading(chat, card, chosen))


def chat_reading(chat: Chat, card: Card, chosen: tools.ToolPlan) -> Reading:
    """How to read an answer to ``chat``."""
    return Reading(
        n=chat.n,
        prefill=messages.prefill(chat.messages, card),
        logprobs=chat.logprobs,
        mute=sampling.max_tokens(chat.sampling, card) == 0,
        tools=chosen,
    )


def template_fields(chat: Chat, card: Card, chosen: tools.ToolPlan) -> dict[str, Any]:
    """The fields that the chat template sees; also the body of /apply-template."""
    body: dict[str, Any] = {"messages": messages.encode(chat.messages, card, native_tools=_native(card))}
    if chosen.declared:
        _declare(body["messages"], tools.declaration(chat, card, chosen))
    if chosen.native and chosen.mode != "off":
        body["tools"] = tools.encode(chat.tools, card)
        # Where our own grammar decides, the template still shows the tools, but parses nothing.
        body["tool_choice"] = "none" if chosen.schema is not None else "auto"
        if chat.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = chat.parallel_tool_calls
    if chat.think is not None:
        _think(body, chat.think, card)
    return body


def _native(card: Card) -> bool:
    return "tools" in card.capabilities


def _declare(encoded: list[dict[str, Any]], text: str) -> None:
    first = encoded[0]
    if first["role"] == "system" and isinstance(first["content"], str):
        encoded[0] = first | {"content": f"{first['content']}\n\n{text}" if first["content"] else text}
    else:
        encoded.insert(0, {"role": "system", "content": text})


def _think(body: dict[str, Any], think: bool | str, card: Card) -> None:
    wanted = think not in (False, "none")
    if wanted and "thinking" not in card.capabilities:
        raise Unsupported("This model cannot think aloud.", hint="Leave thinking off.", param="think")
    body["chat_template_kwargs"] = {"enable_thinking": wanted}
    if wanted and isinstance(think, str):
        body["reasoning_effort"] = think


def _constrain(body: dict[str, Any], wanted: Format | None, chosen: tools.ToolPlan) -> None:
    schema = constraint(wanted, chosen)
    if schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}


def constraint(wanted: Format | None, chosen: tools.ToolPlan | None = None) -> Any:
    """The JSON Schema that the answer must satisfy, if any."""
    if chosen is not None and chosen.schema is not None:
        return chosen.schema
    if wanted is None:
        return None
    return wanted.schema if wanted.kind == "schema" and wanted.schema else {"type": "object"}


def encode_complete(
    request: Complete | Chat,
    card: Card,
    prompt: str | list[int],
    *,
    reading: Reading,
    limit: int | None = None,
) -> Order:
    """One prompt (text or token ids) for /completion; sampling and format are the request's.

    Raises BadRequest for token ids outside the vocabulary.
    """
    if not isinstance(prompt, str):
        check_ids(prompt, card)
    body = {"prompt": prompt, **_generation(request, card, reading, limit)}
    body["return_progress"] = len(prompt) >= (
        WORTH_TELLING if isinstance(prompt, str) else WORTH_TELLING // 4
    )
    return Order("/completion", body, reading)


def encode_infill(
    request: Complete, card: Card, prefix: str, *, reading: Reading, limit: int | None = None
) -> Order:
    """Fill-in-the-middle for /infill. Raises Unsupported where the model cannot."""
    body = {
        "input_prefix": prefix,
        "input_suffix": request.suffix or "",
        **_generation(request, card, reading, limit),
    }
    return Order("/infill", body, reading)


def _generation(request: Complete | Chat, card: Card, reading: Reading, limit: int | None) -> dict[str, Any]:
    body = sampling.encode(request.sampling, card, limit) | STREAM
    body |= {"return_tokens": True, "n_cmpl": reading.n}
    if reading.logprobs is not None:
        body["n_probs"] = max(1, reading.logprobs)
    schema = constraint(request.format, reading.tools)
    if schema is not None:
        body["json_schema"] = schema
    if reading.tools.mode == "forced":
        body.pop("stop", None)
    return body


def check_ids(ids: list[int] | tuple[int, ...], card: Card, param: str = "prompt") -> None:
    """Raise BadRequest for a token id that the model does not have."""
    for token in ids:
        if token < 0 or (card.vocabulary and token >= card.vocabulary):
            raise BadRequest(
                f"The token id {token} is not one of the model's {card.vocabulary}.",
                hint="Use token ids of this model.",
                param=param,
            )


FIM = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("<|prefix|>", "<|suffix|>", "<|middle|>"),
)
"""Control tokens before the prefix, the suffix and the middle, as the models' papers name them."""


def fim_tokens(card: Card) -> tuple[str, str, str] | None:
    """The model's own three, if they are known."""
    return next((three for three in FIM if all(token in card.control_tokens for token in three)), None)


__all__ = [
    "Order",
    "check_ids",
    "constraint",
    "encode_chat",
    "encode_complete",
    "encode_infill",
    "fim_tokens",
    "template_fields",
]
