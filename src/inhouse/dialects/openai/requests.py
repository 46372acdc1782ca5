"""Bodies of OpenAI's generating routes -> requests. Every refusal is a BadRequest that names its field."""

from __future__ import annotations

from typing import Any

from ...core.json import parse
from ...core.requests import Chat, Complete, Embed
from ..adapters import read_adapters
from ..codec import Decoded, Encoder
from ..fields import INT32_MAX, Fields, check_whole, missing, wrong_type, wrong_value
from ..schemas import nested_objects
from .chat import ChatStream, ChatWhole
from .completions import CompletionStream, CompletionWhole
from .embeddings import EmbeddingAnswer
from .formats import read_format
from .hints import read_hints
from .messages import prefilled, read_messages
from .parts import MAX_PARTS, read_part
from .sampling import MAX_CHOICES, read_sampling, read_stream
from .shapes import Head
from .stored import StoredChat, input_messages, told
from .thinking import read_thinking
from .tools import read_toolbox

MAX_PROMPTS = 2048
MAX_INPUTS = 2048
MAX_TOTAL_CHOICES = 4096
DEFAULT_MAX_TOKENS = 16  # of /v1/completions, as OpenAI documents it


def decode_chat(body: bytes) -> Decoded:
    """POST /v1/chat/completions. Raises BadRequest."""
    parsed = parse(body)
    fields = Fields(parsed)
    model = fields.required_text("model")
    _check_the_rest(fields)
    n = fields.whole("n", 1, MAX_CHOICES) or 1
    stream = read_stream(fields)
    toolbox = read_toolbox(fields)
    conversation = read_messages(fields)
    _check_template(fields, prefilled(conversation.messages))
    think, budget = read_thinking(fields)
    hints = read_hints(fields)
    pins = [pin for pin in (hints.pin, conversation.pin) if pin is not None]
    request = Chat(
        model=model,
        keep_alive=fields.duration("keep_alive"),
        adapters=read_adapters(fields),
        priority=hints.priority,
        pin=max(pins, default=None),
        messages=conversation.messages,
        tools=toolbox.tools,
        tool_choice=toolbox.choice,
        parallel_tool_calls=toolbox.parallel,
        format=read_format(fields),
        sampling=read_sampling(fields, _max_tokens(fields)),
        n=n,
        logprobs=_chat_logprobs(fields),
        think=think,
        think_budget=budget,
        template_args=_template_args(fields),
    )
    head = Head.new("chatcmpl", "chat.completion", model, tier=hints.tier)
    store = fields.flag("store", False)
    style, metadata = toolbox.style, hints.metadata if store else None
    encoder: Encoder = ChatWhole(head, n, style=style, metadata=metadata)
    if stream is not None:
        encoder = ChatStream(head, n, stream, style=style)
    if not store:
        fields.note("metadata")
        return Decoded(request, encoder, fields.noted())
    return StoredChat(
        request,
        encoder,
        fields.noted(),
        whole=ChatWhole(head, n, style=style, metadata=metadata),
        told=told(parsed),
        messages=input_messages(parsed),
    )


def _check_the_rest(fields: Fields) -> None:
    """What is refused, and hints that are only checked."""
    for name in ("audio", "web_search_options", "moderation", "chat_template"):
        fields.refuse(name)
    fields.refuse("modalities", ["text"], why="Only text comes out here.")
    fields.refuse("verbosity", "medium", why="Ask for a short or long answer in a message.")
    prediction = fields.mapping("prediction")
    if prediction is not None:
        _check_prediction(prediction)
        fields.note("prediction")


def _check_prediction(prediction: Fields) -> None:
    """Only a hint for speed."""
    if prediction.choice("type", "content") is None:
        missing(prediction.at("type"), "'content'")
    content = prediction.get("content")
    if content is None:
        missing(prediction.at("content"), "a string or an array of text parts")
    if isinstance(content, str):
        return
    for part in prediction.objects("content", MAX_PARTS):
        read_part(part, "system")


def _check_template(fields: Fields, prefill: bool) -> None:
    """A last assistant message is always continued; any other is always answered."""
    fields.refuse("add_generation_prompt", not prefill, why="A last assistant message is continued here.")
    fields.refuse("continue_final_message", prefill, why="A last assistant message is continued here.")


def _template_args(fields: Fields) -> dict[str, Any]:
    """Further variables of the chat template."""
    given = fields.object("chat_template_kwargs") or {}
    for _ in nested_objects(given, "chat_template_kwargs"):
        pass  # only how deep it is matters
    return given


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
    best_of = _best_of(fields, n, len(prompts))
    stream = read_stream(fields)
    suffix = fields.text("suffix")
    if suffix and len(prompts) > 1:
        wrong_value("suffix", "it only with a single prompt")
    logprobs = fields.whole("logprobs", 0, 5)
    max_tokens = fields.whole("max_tokens", 0, INT32_MAX)
    request = Complete(
        model=model,
        keep_alive=fields.duration("keep_alive"),
        adapters=read_adapters(fields),
        prompts=prompts,
        suffix=suffix or None,
        echo=fields.flag("echo", False),
        format=read_format(fields),
        sampling=read_sampling(fields, DEFAULT_MAX_TOKENS if max_tokens is None else max_tokens),
        n=n,
        best_of=best_of,
        logprobs=logprobs,
    )
    fields.text("user")
    fields.note("user")
    head = Head.new("cmpl", "text_completion", model)
    encoder: Encoder = CompletionWhole(head, total, logprobs=logprobs)
    if stream is not None:
        encoder = CompletionStream(head, total, stream, logprobs=logprobs)
    return Decoded(request, encoder, fields.noted())


def _best_of(fields: Fields, n: int, prompts: int) -> int | None:
    """How many candidates to make for each prompt; None when all of them are given."""
    best_of = fields.whole("best_of", 1, MAX_CHOICES)
    if best_of is None or best_of == n:
        return None
    if best_of < n:
        wrong_value("best_of", f"at least n, which is {n}", best_of)
    if best_of * prompts > MAX_TOTAL_CHOICES:
        wrong_value("best_of", f"at most {MAX_TOTAL_CHOICES} candidates over all prompts", best_of * prompts)
    if fields.flag("stream", False):
        wrong_value("best_of", "it only without 'stream': what is best is known at the end", best_of)
    return best_of


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
        adapters=read_adapters(fields),
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
