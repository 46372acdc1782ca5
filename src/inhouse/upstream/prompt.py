"""What a worker reads before it answers a chat, where we render it ourselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core.errors import Unsupported
from ..core.messages import Image, ToolResult
from ..core.models import Card
from ..core.requests import Chat
from ..dialects.llamaserver import template_fields
from ..dialects.llamaserver.content import CLOSE, OPEN
from ..dialects.llamaserver.encode import Prompt
from ..dialects.llamaserver.escape import escape
from ..dialects.llamaserver.tools import ToolPlan
from .http import Link


@dataclass(frozen=True, slots=True)
class Rendering:
    """A prompt as text; ``ids`` stand for it where they are known, ``images`` are in base64."""

    text: str
    ids: tuple[int, ...] | None = None
    images: tuple[str, ...] = ()

    @property
    def opened(self) -> bool:
        """The prompt ends inside of a thought."""
        return self.text.rstrip().endswith(OPEN)

    @property
    def closed(self) -> bool:
        """The prompt ends with a thought that is over: none will follow."""
        return self.text.rstrip().endswith(CLOSE)

    def then(self, written: str) -> Prompt:
        """The prompt with what was answered so far."""
        if self.images:
            return {"prompt_string": self.text + written, "multimodal_data": list(self.images)}
        if self.ids is None:
            return self.text + written
        ids: list[int | str] = [*self.ids]
        return [*ids, written] if written else ids


async def render(link: Link, card: Card, chat: Chat, chosen: ToolPlan) -> Rendering:
    """The prompt of a chat: as it was given, else by the model's template."""
    if chat.prompt is not None:
        if any(True for _ in _images(chat)):
            raise Unsupported(
                "Images cannot be put into a prompt that is already rendered.",
                hint="Leave the template to the model.",
                param="messages",
            )
        return Rendering(chat.prompt, tuple(await given_ids(link, card, chat.prompt)))
    fields = template_fields(chat, card, chosen)
    text = await link.render(fields)
    return Rendering(text, images=tuple(_encoded(fields["messages"])))


async def given_ids(link: Link, card: Card, prompt: str) -> list[int]:
    """Token ids of a rendered prompt, which may hold the beginning of all texts itself."""
    ids = await link.tokenize(prompt)
    first = card.metadata.get("tokenizer.ggml.bos_token_id")
    return ids[1:] if ids[:2] == [first, first] else ids


def continued(written: str, card: Card, kept: tuple[str, ...]) -> str:
    """What was answered, to be read again: texts of control tokens stay texts, but for ``kept``."""
    return escape(written, tuple(token for token in card.control_tokens if token not in kept))


def _images(chat: Chat) -> list[Image]:
    found: list[Image] = []
    for message in chat.messages:
        for part in message.parts:
            inner = part.images if isinstance(part, ToolResult) else (part,)
            found += [one for one in inner if isinstance(one, Image)]
    return found


def _encoded(messages: list[dict[str, Any]]) -> list[str]:
    """Base64 of all images, in the order of their markers."""
    out = []
    for message in messages:
        parts = message["content"] if isinstance(message["content"], list) else []
        out += [part["image_url"]["url"].partition(",")[2] for part in parts if part["type"] == "image_url"]
    return out
