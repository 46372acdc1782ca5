"""Requests as bodies of llama-server's endpoints, with how to read what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.errors import BadRequest, Unsupported
from ...core.messages import Format, Sampling
from ...core.models import Card
from ...core.requests import Chat, Complete
from . import messages, sampling, tools
from .content import CLOSE, OPEN, Reading

STREAM: dict[str, Any] = {"stream": True}
"""Always streamed: leaving then frees the slot, and there is one path to test."""

WORTH_TELLING = 2000
"""Characters of prompt from which prefill progress is asked for. A short prompt is read before anybody
looks, and on a machine with few cores waking up to hear of it delays the first token."""


TAGS = (OPEN, CLOSE, "<tool_call>", "</tool_call>")
"""Tokens that some vocabularies hold for control tokens, which the engine would leave out of the text."""

Prompt = str | Sequence[int | str] | dict[str, Any]
"""Text, token ids, both, or text with images (``prompt_string``, ``multimodal_data``)."""


@dataclass(frozen=True, slots=True)
class Order:
    """A call of an endpoint and how to read its answer."""

    path: str
    body: dict[str, Any]
    reading: Reading

    @property
    def param(self) -> str:
        """The field that a refusal names."""
        return self.reading.param


def encode_chat(chat: Chat, card: Card, *, limit: int | None = None) -> Order:
    """A conversation for /v1/chat/completions; ``limit`` caps the tokens to generate.

    Raises Unsupported, naming the field, for what this model cannot do, BadRequest for what none can.
    """
    chosen = tools.plan(chat, card)
    body = template_fields(chat, card, chosen) | sampling.encode(chat.sampling, card, limit) | STREAM
    body["cache_prompt"] = reusable(chat.sampling)
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
    if "thinking" in card.capabilities:
        _budget(body, chat)
    return Order("/v1/chat/completions", body, chat_reading(chat, card, chosen))


def reusable(wanted: Sampling) -> bool:
    """Whether the prompt may be taken from the slot's cache. Numbers computed in batches of another
    size differ a little, enough to draw other tokens: who asks for a seed gets the same ones again."""
    return wanted.seed is None or wanted.temperature == 0


def _budget(body: dict[str, Any], chat: Chat) -> None:
    """How much thinking, and that we hear how many tokens it takes."""
    if quiet(chat):
        body["reasoning_budget_tokens"] = 0  # also where a template opens a thought whatever is asked
        return
    body["timings_per_token"] = True
    if chat.think_budget is not None:
        body["reasoning_budget_tokens"] = chat.think_budget


def quiet(chat: Chat) -> bool:
    """Whether thoughts are not wanted."""
    return chat.think in (False, "none")


def chat_reading(chat: Chat, card: Card, chosen: tools.ToolPlan) -> Reading:
    """How to read an answer to ``chat``."""
    prefill = messages.prefill(chat.messages, card)
    return Reading(
        n=chat.n,
        prefill=prefill,
        logprobs=chat.logprobs,
        mute=sampling.max_tokens(chat.sampling, card) == 0,
        tools=chosen,
        thoughts=not prefill,
        hush=quiet(chat),
    )


def template_fields(chat: Chat, card: Card, chosen: tools.ToolPlan) -> dict[str, Any]:
    """The fields that the chat template sees; also the body of /apply-template."""
    if chat.template is not None:
        raise Unsupported(
            "This engine takes no chat template with a request.",
            hint="Make a model with the template instead: inhouse create.",
            param="template",
        )
    body: dict[str, Any] = {"messages": messages.encode(chat.messages, card, native_tools=_native(card))}
    if chosen.declared:
        _declare(body["messages"], tools.declaration(chat, card, chosen))
    if chosen.native and chosen.mode != "off":
        body["tools"] = tools.encode(chat.tools, card)
        # Where our own grammar decides, the template still shows the tools, but parses nothing.
        body["tool_choice"] = "none" if chosen.schema is not None else "auto"
        if chat.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = chat.parallel_tool_calls
    if chat.template_args:
        body["chat_template_kwargs"] = dict(chat.template_args)
    if chat.think is not None:
        _think(body, chat, card)
    return body


def _native(card: Card) -> bool:
    return "tools" in card.capabilities


def _declare(encoded: list[dict[str, Any]], text: str) -> None:
    first = encoded[0]
    if first["role"] == "system" and isinstance(first["content"], str):
        encoded[0] = first | {"content": f"{first['content']}\n\n{text}" if first["content"] else text}
    else:
        encoded.insert(0, {"role": "system", "content": text})


def _think(body: dict[str, Any], chat: Chat, card: Card) -> None:
    wanted = not quiet(chat)
    if wanted and "thinking" not in card.capabilities:
        raise Unsupported("This model cannot think aloud.", hint="Leave thinking off.", param="think")
    body.setdefault("chat_template_kwargs", {})["enable_thinking"] = wanted
    if wanted and isinstance(chat.think, str):
        body["reasoning_effort"] = chat.think


def _constrain(body: dict[str, Any], wanted: Format | None, chosen: tools.ToolPlan) -> None:
    """In a chat the engine itself joins the schema with how the model thinks aloud."""
    fields = constraint(wanted, chosen)
    if "json_schema" in fields:
        schema = {key: value for key, value in fields["json_schema"].items() if key != "x-guidance"}
        fields = {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
    body |= fields


def constraint(wanted: Format | None, chosen: tools.ToolPlan | None = None) -> dict[str, Any]:
    """The fields of /completion that hold the answer to its format; none where there is none.

    A grammar is in the notation of the engine by now.
    """
    if chosen is not None and chosen.schema is not None:
        return under(chosen.schema)
    if wanted is None:
        return {}
    if wanted.kind == "grammar" and wanted.grammar is not None:
        return {"grammar": wanted.grammar.text}
    return under(tools.schema_of(wanted))


BLANK = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON on one line: left free, a small model writes blanks until its tokens run out. For llguidance;
others skip the key."""


def under(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of /completion that hold an answer to a JSON Schema."""
    return {"json_schema": {"x-guidance": BLANK, **schema}}


def encode_complete(
    request: Complete | Chat,
    card: Card,
    prompt: Prompt,
    *,
    reading: Reading,
    limit: int | None = None,
) -> Order:
    """One prompt for /completion; sampling and format are the request's.

    Raises BadRequest for token ids outside the vocabulary.
    """
    if not isinstance(prompt, str | dict):
        check_ids([token for token in prompt if isinstance(token, int)], card)
    body = {"prompt": prompt, **_generation(request, card, reading, limit)}
    body["return_progress"] = isinstance(prompt, dict) or len(prompt) >= (
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
    body["cache_prompt"] = reusable(request.sampling)
    body |= {"return_tokens": True, "n_cmpl": reading.n}
    if reading.logprobs is not None:
        body["n_probs"] = max(1, reading.logprobs)
    if reading.thoughts or reading.tools.mode != "off":
        body["preserved_tokens"] = list(TAGS)
    body |= constraint(request.format, reading.tools)
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
