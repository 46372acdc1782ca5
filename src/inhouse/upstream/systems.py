"""System messages amid a conversation, for models whose chat template takes one only at its beginning.

Claude Code sends one after each turn of the user. Some templates refuse it there, others leave it
out in silence; then it is said to the model in the user's turn.
"""

from __future__ import annotations

import dataclasses

from ..core.errors import BadRequest
from ..core.messages import Message, Text
from ..core.models import Card
from ..core.requests import Chat
from ..dialects.llamaserver import template_fields
from ..dialects.llamaserver.escape import escape
from ..dialects.llamaserver.tools import plan
from .http import Link

_BREAK = Text("\n\n")


async def settled(link: Link, card: Card, chat: Chat) -> Chat:
    """The chat as the model's template takes it; the same one if it shows all system messages.

    Raises what ``template_fields`` raises. A conversation that is refused for another reason stays
    refused: whoever renders it next hears of it.
    """
    later = [message for message in chat.messages[1:] if message.role == "system"]
    if not later or chat.prompt is not None:
        return chat
    try:
        shown = await link.render(template_fields(chat, card, plan(chat, card)))
    except BadRequest:
        shown = ""
    if all(escape(message.text.strip(), card.control_tokens) in shown for message in later):
        return chat
    return dataclasses.replace(chat, messages=folded(chat.messages))


def folded(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """System messages at the beginning become one; each later one becomes part of the user's turn
    before it, else of the one after it, else a turn of its own."""
    out: list[Message] = []
    ours = False  # the last of ``out`` is a system message that waits for the user's turn
    for message in messages:
        last = out[-1] if out else None
        if message.role != "system":
            if ours and last is not None and message.role == "user":
                out[-1] = _joined(last, message)
            else:
                out.append(message)
            ours = False
        elif last is None:
            out.append(message)
        elif last.role == "user" or (last.role == "system" and len(out) == 1):
            out[-1] = _joined(last, message)
        else:
            out.append(Message("user", message.parts))
            ours = True
    return tuple(out)


def _joined(first: Message, second: Message) -> Message:
    return dataclasses.replace(first, parts=(*first.parts, _BREAK, *second.parts))
