"""Text to tokens and back, and what a chat is as a prompt; nothing is generated."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from ..core.events import ChoiceEnd, Event, Finished, Rendered, Started, TextDelta, Tokens
from ..core.models import Card
from ..core.requests import Detokenize, Render, Tokenize
from ..core.usage import Timings, Usage
from ..dialects.llamaserver import check_ids
from ..dialects.llamaserver.embed import spelled
from ..dialects.llamaserver.tokens import PATH, decode_pieces, encode_pieces
from ..dialects.llamaserver.tools import plan
from . import prompt, systems
from .http import Link


async def tokenize(link: Link, card: Card, request: Tokenize) -> AsyncGenerator[Event, None]:
    """The Tokens of a text, with the bytes of each."""
    text = spelled(request.text, card)
    ids, pieces = await _pieces(link, text, special=request.special, control=request.control)
    yield Started()
    yield Tokens(ids, pieces, link.launch.context_length)
    yield Finished(Usage(), Timings())


async def detokenize(link: Link, card: Card, request: Detokenize) -> AsyncGenerator[Event, None]:
    """The text of token ids. Raises BadRequest for one that the model does not have."""
    check_ids(request.tokens, card, "tokens")
    text = await link.detokenize(list(request.tokens)) if request.tokens else ""
    yield Started()
    yield TextDelta(text)
    yield ChoiceEnd("stop")
    yield Finished(Usage(), Timings())


async def render(link: Link, card: Card, request: Render) -> AsyncGenerator[Event, None]:
    """The prompt of a chat, its tokens, and as usage how many: what a generation would report.

    Raises BadRequest where the model's template refuses the conversation.
    """
    chat = await systems.settled(link, card, request.chat)
    before = chat.context or ()
    check_ids(before, card, "context")
    rendering = await prompt.render(link, card, chat, plan(chat, card))
    ids, pieces = await _pieces(link, rendering.text, special=not before, control=True)
    if rendering.ids is not None:  # without a second beginning of the text
        ids, pieces = ids[-len(rendering.ids) :], pieces[-len(rendering.ids) :]
    yield Started()
    yield Rendered(rendering.text, len(rendering.images))
    ids = (*before, *ids)
    yield Tokens(ids, pieces if request.pieces and not before else (), link.launch.context_length)
    yield Finished(Usage(len(ids)), Timings())


async def _pieces(
    link: Link, text: str, *, special: bool, control: bool
) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
    body = encode_pieces(text, special=special, control=control)
    return decode_pieces(await link.call(PATH, body, param="prompt"))
