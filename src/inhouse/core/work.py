"""How much work a request is, before anybody has read it: a guess that fairness counts by. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .messages import Image, Message, Reasoning, Text, ToolCall, ToolResult
from .requests import Chat, Complete, Detokenize, Embed, Render, Request, Rerank, Tokenize
from .usage import Usage

LETTERS: Final = 4
"""Letters of a token, as a rule of thumb; other scripts have fewer, which all tenants share."""

PICTURE: Final = 300
"""Tokens of an image."""

ANSWER: Final = 256
"""Tokens of an answer whose length nobody limited."""

DEAR: Final = 4
"""One generated token takes as long as so many of a prompt, or more."""


def estimate(request: Request) -> int:
    """Prompt tokens that would take as long as the request, at least 1."""
    match request:
        case Chat(n=n, sampling=sampling):
            return _chat(request) + DEAR * n * _answer(sampling.max_tokens)
        case Complete(prompts=prompts, sampling=sampling):
            return _texts(prompts) + DEAR * len(prompts) * request.width * _answer(sampling.max_tokens)
        case Embed(inputs=inputs):
            return _texts(inputs)
        case Rerank(pairs=pairs):
            return _texts(text for pair in pairs for text in pair)
        case Render(chat=chat):
            return 1 + _chat(chat) // 100
        case Tokenize(text=text):
            return 1 + len(text) // 1000
        case Detokenize(tokens=tokens):
            return 1 + len(tokens) // 1000
    return 1


def spent(usage: Usage) -> int:
    """The same for a request that was answered: what was computed of its prompt, and its answer."""
    return max(1, usage.prompt_tokens - usage.cached_tokens + DEAR * usage.completion_tokens)


def _answer(limit: int | None) -> int:
    return ANSWER if limit is None or limit < 0 else max(1, limit)


def _chat(chat: Chat) -> int:
    prompt = _tokens(chat.prompt) if chat.prompt is not None else sum(map(_message, chat.messages))
    return 1 + prompt + len(chat.context or ()) + sum(_tokens(str(tool)) for tool in chat.tools)


def _message(message: Message) -> int:
    count = 4
    for part in message.parts:
        match part:
            case Text(text) | Reasoning(text):
                count += _tokens(text)
            case ToolCall():
                count += _tokens(part.arguments)
            case ToolResult():
                count += _tokens(part.text) + PICTURE * len(part.images)
            case Image():
                count += PICTURE
    return count


def _texts(texts: Iterable[str | tuple[int, ...]]) -> int:
    return 1 + sum(_tokens(text) if isinstance(text, str) else len(text) for text in texts)


def _tokens(text: str) -> int:
    return len(text) // LETTERS
