"""Tokens of texts and chats, on servers that tell them."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from ...core.errors import Unsupported
from ...core.events import ChoiceEnd, Event, Finished, Rendered, Started, TextDelta, Tokens
from ...core.messages import Image
from ...core.models import Card
from ...core.requests import Detokenize, Render, Tokenize
from ...core.usage import Timings, Usage
from ...dialects.openai.client import (
    Service,
    decode_text,
    decode_tokens,
    encode_detokenize,
    encode_render,
    encode_tokenize,
)
from ...dialects.openai.client.tokens import DETOKENIZE, TOKENIZE
from .link import OpenAILink
from .settle import without_control


async def tokenize(link: OpenAILink, service: Service, request: Tokenize) -> AsyncGenerator[Event, None]:
    """The Tokens of a text; their bytes this wire does not tell. Raises Unsupported."""
    body = encode_tokenize(request.text, service, special=request.special)
    ids = decode_tokens(await link.call(TOKENIZE, body, param="content"))
    yield Started()
    yield Tokens(ids, (), link.launch.context_length)
    yield Finished(Usage(), Timings())


async def detokenize(link: OpenAILink, service: Service, request: Detokenize) -> AsyncGenerator[Event, None]:
    """The text of token ids. Raises Unsupported."""
    body = encode_detokenize(request.tokens, service)
    text = decode_text(await link.call(DETOKENIZE, body, param="tokens")) if request.tokens else ""
    yield Started()
    yield TextDelta(text)
    yield ChoiceEnd("stop")
    yield Finished(Usage(), Timings())


async def render(
    link: OpenAILink, card: Card, service: Service, request: Render
) -> AsyncGenerator[Event, None]:
    """The prompt of a chat and its tokens. Raises Unsupported."""
    chat = without_control(request.chat, card)
    if any(isinstance(part, Image) for message in chat.messages for part in message.parts):
        raise Unsupported(
            "The engine that runs this model cannot count the tokens of images.",
            hint="Leave the images out.",
            param="messages",
        )
    body = encode_render(chat, service)
    ids = decode_tokens(await link.call(TOKENIZE, body, param="messages"))
    text = decode_text(await link.call(DETOKENIZE, encode_detokenize(ids, service), param="messages"))
    yield Started()
    yield Rendered(text)
    yield Tokens(ids, (), link.launch.context_length)
    yield Finished(Usage(len(ids)), Timings())
