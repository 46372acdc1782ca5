"""Bodies of OpenAI's generating routes -> requests. Every refusal is a BadRequest that names its field."""

from __future__ import annotations

from typing import Any

from ...core.json import parse
from ...core.requests import Chat, Complete, Embed
from ..codec import Decoded, Encoder
from ..fields import INT32_MAX, Fields, check_whole, missing, wrong_type, wrong_value
from .chat import ChatStream, ChatWhole
from .completions import CompletionStream, CompletionWhole
from .embeddings import EmbeddingAnswer
from .messages import read_messages
from .sampling import MAX_CHOICES, read_hints, read_sampling, read_stream
from .shapes import Head
from .tools import read_format, read_tool_choice, read_tools

MAX_PROMPTS = 2048
MAX_INPUTS = 2048
MAX_TOTAL_CHOICES = 4096
DEFAULT_MAX_TOKENS = 16  # of /v1/completions, as OpenAI documents it
# As Ollama maps them too: engines know four levels.
_EFFORTS: dict[str, bool | str] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}


def decode_chat(body: bytes) -> Decoded:
    """POST /v1/chat/completions. Raises BadRequest."""
    fields = Fields(parse(body))
    model = fields.required_text("model")
    _refuse_for_now(fields)
    n = fields.whole("n", 1, MAX_CHOICES) or 1
    stream, include_usage = read_stream(fields)
    tools = read_tools(fields)
    effort = fields.choice("reasoning_effort", *_EFFORTS)
    request = Chat(
        model=model,
        keep_alive=fields.duration("keep_alive"),
        messages=read_messages(fields),
        tools=tools,
        tool_choice=read_tool_choice(fields, tools),
        parallel_tool_calls=fields.flag("parallel_tool_calls"),
        format=read_format(fields),
        sampling=read_sampling(fields, _max_tokens(fields)),
        n=n,
        logprobs=_chat_logprobs(fields),
        think=None if effort is None else _EFFORTS[effort],
    )
    read_hints(fields)
    head = Head.new("chatcmpl", "chat.completion", model)
    encoder: Encoder = ChatStream(head, n, include_usage=include_usage) if stream else ChatWhole(head, n)
    return Decoded(request, encoder, fields.noted())


def _refuse_for_now(fields: Fields) -> None:
    for name in ("functions", "function_call"):
        fields.refuse(name, why="Use tools and tool_choice.")
    for name in ("audio", "prediction", "web_search_options", "moderation"):
        fields.refuse(name)
    fields.refuse("store", False, why="Answers are never stored here; leave it out.")
    fields.refuse("modalities", ["text"], why="Only text comes out here.")
    fields.refuse("verbosity", "medium", why="Ask for a short or long answer in a message.")


def _max_tokens(fields: Fields) -> int | None:
    newer = fields.whole("max_completion_tokens", 1, INT32_MAX)
    older = fields.whole("max_tokens", 1, INT32_MAX)
    return older if newer is None else newer


def _chat_logprobs(fields: Fields) -> int | None:
    wanted = fields.flag("logprobs", False)
    top = fields.whole("top_logprobs", 0, 20)
    if top is not None and not wanted:
        wrong_value("top_logprobs", "it only with 'logprobs': true")
    return (top or 0) if wanted else None


def decode_completions(body: bytes) -> Decoded:
    """POST /v1/completions. Raises BadRequest."""
    fields = Fields(parse(body))
    model = fields.required_text("model")
    prompts = _texts_or_tokens(fields, "prompt", MAX_PROMPTS)
    n = fields.whole("n", 1, MAX_CHOICES) or 1
    total = n * len(prompts)
    if total > MAX_TOTAL_CHOICES:
        wrong_value("n", f"at most {MAX_TOTAL_CHOICES} choices over all prompts", total)
    best_of = fields.whole("best_of", 1, MAX_CHOICES)
    if best_of is not None:
        fields.refuse("best_of", n, float(n), why="It must be n or left out.")
    suffix = fields.text("suffix")
    if suffix and len(prompts) > 1:
        wrong_value("suffix", "it only with a single prompt")
    stream, include_usage = read_stream(fields)
    logprobs = fields.whole("logprobs", 0, 5)
    max_tokens = fields.whole("max_tokens", 1, INT32_MAX)
    request = Complete(
        model=model,
        keep_alive=fields.duration("keep_alive"),
        prompts=prompts,
        suffix=suffix or None,
        echo=fields.flag("echo", False),
        sampling=read_sampling(fields, DEFAULT_MAX_TOKENS if max_tokens is None else max_tokens),
        n=n,
        logprobs=logprobs,
    )
    fields.text("user")
    fields.note("user")
    head = Head.new("cmpl", "text_completion", model)
    encoder: Encoder = CompletionWhole(head, total, logprobs=logprobs)
    if stream:
        encoder = CompletionStream(head, total, logprobs=logprobs, include_usage=include_usage)
    return Decoded(request, encoder, fields.noted())


def decode_embeddings(body: bytes) -> Decoded:
    """POST /v1/embeddings. Raises BadRequest."""
    fields = Fields(parse(body))
    model = fields.required_text("model")
    inputs = _texts_or_tokens(fields, "input", MAX_INPUTS)
    for i, one in enumerate(inputs):
        if not one:
            wrong_value("input" if len(inputs) == 1 else f"input[{i}]", "a string that is not empty")
    encoding = fields.choice("encoding_format", "float", "base64")
    request = Embed(
        model=model,
        keep_alive=fields.duration("keep_alive"),
        inputs=inputs,
        dimensions=fields.whole("dimensions", 1, INT32_MAX),
    )
    fields.text("user")
    fields.note("user")
    encoder = EmbeddingAnswer(model, len(inputs), as_base64=encoding == "base64")
    return Decoded(request, encoder, fields.noted())


def _texts_or_tokens(fields: Fields, name: str, most: int) -> tuple[str | tuple[int, ...], ...]:
    """A string, strings, token ids, or arrays of token ids."""
    shapes = "a string, an array of strings, or arrays of token ids"
    value = fields.get(name)
    if value is None:
        missing(name, shapes)
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        wrong_type(name, shapes, value)
    if not value:
        wrong_value(name, "at least one item")
    if not isinstance(value[0], str | list):
        return (_tokens(value, name),)
    if len(value) > most:
        wrong_value(name, f"at most {most} items", len(value))
    if isinstance(value[0], str):
        for i, text in enumerate(value):
            if not isinstance(text, str):
                wrong_type(f"{name}[{i}]", "a string like the others", text)
        return tuple(value)
    return tuple(_tokens(one, f"{name}[{i}]") for i, one in enumerate(value))


def _tokens(value: Any, param: str) -> tuple[int, ...]:
    if not isinstance(value, list):
        wrong_type(param, "an array of token ids like the others", value)
    if not value:
        wrong_value(param, "at least one token id")
    return tuple(check_whole(f"{param}[{i}]", token, 0, INT32_MAX) for i, token in enumerate(value))
