"""Requests as bodies of /v1/chat/completions and /v1/completions, with how to read what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ....core.errors import Unsupported
from ....core.messages import Format
from ....core.requests import Chat, Complete
from .features import need
from .messages import encode_messages, encode_tools
from .sampling import encode_sampling

CHAT, COMPLETE = "/v1/chat/completions", "/v1/completions"
_EFFORTS = ("low", "medium", "high")
_OWN = frozenset(
    {
        "add_generation_prompt", "chat_template", "continue_final_message", "conversation", "max_length",
        "messages", "padding", "return_assistant_tokens_mask", "return_dict", "return_tensors", "tokenize",
        "tokenizer_kwargs", "tools", "truncation",
    }
)  # fmt: skip
"""Parameters of transformers' ``apply_chat_template``, to which servers hand these variables on: through
them a request could bring a template of its own, which is a program (CVE-2025-61620, CVE-2025-62426)."""


@dataclass(frozen=True, slots=True)
class Service:
    """A server: ``model`` is what it calls the model, ``takes`` what it understands."""

    model: str
    takes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Order:
    """A call and how to read its answer.

    ``n`` choices are counted from ``offset``; ``logprobs`` as in the request; ``mute``: no token was asked
    for, whatever the server writes. ``param`` is the field that a refusal names.
    """

    path: str
    body: dict[str, Any]
    n: int = 1
    offset: int = 0
    logprobs: int | None = None
    mute: bool = False
    param: str = "messages"
    tools: frozenset[str] = field(default_factory=frozenset)


def encode_chat(chat: Chat, service: Service, *, offset: int = 0) -> Order:
    """A conversation; its choices are counted from ``offset``. A prompt that is rendered already goes as
    a raw completion.

    Raises Unsupported, naming the field, for what the server does not take, and BadRequest.
    """
    takes = service.takes
    _refuse_chat(chat)
    most = chat.sampling.max_tokens
    if chat.prompt is not None:
        return _rendered(chat, service, offset)
    need(takes, "chat", "messages", hint="Use another model for chat.")
    body = _begin(service, chat.n) | {"messages": encode_messages(chat.messages, takes)}
    body |= encode_sampling(chat.sampling, takes) | format_fields(chat.format, takes)
    body |= encode_tools(chat.tools, chat.tool_choice, chat.parallel_tool_calls, takes)
    if chat.messages[-1].role == "assistant":
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    if most is not None and most >= 0:
        name = "max_completion_tokens" if "max_completion_tokens" in takes else "max_tokens"
        body[name] = max(1, most)
    if chat.logprobs is not None:
        need(takes, "logprobs", "logprobs")
        body |= {"logprobs": True, "top_logprobs": chat.logprobs}
    body |= template_fields(chat, takes)
    return Order(
        CHAT,
        body,
        chat.n,
        offset,
        chat.logprobs,
        mute=most == 0,
        tools=frozenset(tool.name for tool in chat.tools),
    )


def _refuse_chat(chat: Chat) -> None:
    if chat.context:
        raise Unsupported(
            "The engine that runs this model takes no token ids of an earlier answer.",
            hint="Send the conversation as messages.",
            param="context",
        )
    if chat.think_budget is not None and chat.think not in (False, "none"):
        raise Unsupported(
            "The engine that runs this model cannot limit the tokens of its thoughts.",
            hint="Leave the budget out, or switch thinking off.",
            param="think_budget",
        )
    if chat.template is not None:
        raise Unsupported(
            "The engine that runs this model takes no chat template with a request.",
            hint="Make a model with the template instead: inhouse create.",
            param="template",
        )


def template_fields(chat: Chat, takes: frozenset[str]) -> dict[str, Any]:
    """What the chat template is told, and how much to think. Raises Unsupported."""
    args = dict(chat.template_args)
    if args:
        need(takes, "chat_template_kwargs", "chat_template_kwargs")
    if own := sorted(args.keys() & _OWN):
        raise Unsupported(
            f"'{own[0]}' is no variable that a chat template can be given.",
            hint="Leave it out.",
            param="chat_template_kwargs",
        )
    effort: dict[str, Any] = {}
    if chat.think is not None:
        wanted = {True: None, False: "none", "max": "high"}.get(chat.think, chat.think)
        if "reasoning_effort" in takes and wanted is not None:
            effort = {"reasoning_effort": wanted}
        else:
            need(takes, "chat_template_kwargs", "think")
            args.setdefault("enable_thinking", chat.think is not False and chat.think != "none")
            if isinstance(chat.think, str) and chat.think in _EFFORTS:
                args.setdefault("reasoning_effort", chat.think)
    return effort | ({"chat_template_kwargs": args} if args else {})


def _rendered(chat: Chat, service: Service, offset: int) -> Order:
    for feature in ("completions", "add_special_tokens"):  # the prompt holds what begins a text itself
        need(service.takes, feature, "template", hint="Leave the template to the model.")
    if chat.tools:
        need(frozenset(), "tools", "tools", hint="A prompt that is rendered already has no place for them.")
    raw = Complete(
        model=chat.model,
        prompts=(chat.prompt or "",),
        format=chat.format,
        sampling=chat.sampling,
        n=chat.n,
        logprobs=chat.logprobs,
    )
    order = encode_complete(raw, raw.prompts[0], service, offset=offset)
    order.body["add_special_tokens"] = False
    return order


def encode_complete(
    request: Complete, prompt: str | tuple[int, ...], service: Service, *, offset: int = 0
) -> Order:
    """One prompt of a completion; its choices are counted from ``offset``. Raises Unsupported."""
    takes, most = service.takes, request.sampling.max_tokens
    need(takes, "completions", "prompt", hint="Send the prompt as a chat.")
    if not isinstance(prompt, str):
        need(takes, "token_prompts", "prompt", hint="Send the prompt as text.")
    body = _begin(service, request.n) | {"prompt": prompt if isinstance(prompt, str) else list(prompt)}
    body |= encode_sampling(request.sampling, takes) | format_fields(request.format, takes)
    # Left out it would be 16, as OpenAI documents it; null is as many as fit.
    body["max_tokens"] = None if most is None or most < 0 else max(1, most)
    if request.suffix is not None:
        need(takes, "suffix", "suffix")
        body["suffix"] = request.suffix
    if request.echo:
        need(takes, "echo", "echo")
        body["echo"] = True
    if request.logprobs is not None:
        need(takes, "logprobs", "logprobs")
        body["logprobs"] = request.logprobs
    return Order(COMPLETE, body, request.n, offset, request.logprobs, mute=most == 0, param="prompt")


def _begin(service: Service, n: int) -> dict[str, Any]:
    """Always streamed: leaving then ends the work, and there is one path to test."""
    body: dict[str, Any] = {"model": service.model, "stream": True}
    if "stream_options" in service.takes:
        body["stream_options"] = {"include_usage": True}
    if n > 1:
        need(service.takes, "n", "n")
        body["n"] = n
    return body


def format_fields(wanted: Format | None, takes: frozenset[str]) -> dict[str, Any]:
    """How the answer must look. Raises Unsupported naming the field that asked."""
    if wanted is None:
        return {}
    if wanted.kind == "grammar" and wanted.grammar is not None:
        return _grammar(wanted, takes)
    if wanted.kind == "json" and "json_object" in takes:
        return {"response_format": {"type": "json_object"}}
    need(takes, "json_schema", wanted.param, hint="It cannot hold an answer to a schema: ask in the prompt.")
    schema = wanted.schema if wanted.kind == "schema" and wanted.schema is not None else {"type": "object"}
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _grammar(wanted: Format, takes: frozenset[str]) -> dict[str, Any]:
    grammar = wanted.grammar
    assert grammar is not None  # noqa: S101  # asked before
    if grammar.kind == "regex" and "regex" in takes and "structured_outputs" not in takes:
        return {"regex": grammar.text}
    need(takes, "structured_outputs", wanted.param, hint="Use a JSON Schema, or another engine.")
    return {"structured_outputs": {"regex" if grammar.kind == "regex" else "grammar": grammar.text}}
