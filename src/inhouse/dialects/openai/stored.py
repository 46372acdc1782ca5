"""Chat completions that are kept: what of a request is told again, and the objects around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..codec import Decoded
from ..fields import Fields, missing
from ..wire import dumps
from .chat import ChatWhole
from .hints import read_metadata

KIND = "chat.completion"
MESSAGE_KIND = "chat.completion.message"
MAX_IMAGE = 8 * 2**20
_TOLD = (
    "tool_choice", "tools", "functions", "function_call", "seed", "temperature", "top_p",
    "presence_penalty", "frequency_penalty", "response_format", "max_completion_tokens", "reasoning_effort",
)  # fmt: skip
_DEFAULTS: dict[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChat(Decoded):
    """A chat whose answer is kept. ``whole`` folds the same events as the encoder; ``told`` are the
    request's fields that the kept completion repeats; ``messages`` its messages."""

    whole: ChatWhole
    told: Mapping[str, Any]
    messages: tuple[dict[str, Any], ...]


def told(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a kept completion says of its request, beside the metadata."""
    kept = {name: body.get(name, _DEFAULTS.get(name)) for name in _TOLD}
    return {**kept, "input_user": body.get("user")}


def input_messages(body: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The messages of a request that has been read, as they are listed; very large images are left out."""
    return tuple(_message(message) for message in body["messages"])


def _message(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    parts = None
    if isinstance(content, list):
        parts = [part for part in content if part.get("type") in ("text", "image_url") and not _large(part)]
        texts = [part["text"] for part in content if part.get("type") == "text"]
        content = "".join(texts) if texts else None
    return {
        **{name: value for name, value in message.items() if name != "content"},
        "content": content,
        "name": message.get("name"),
        "content_parts": parts,
    }


def _large(part: dict[str, Any]) -> bool:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    return isinstance(url, str) and len(url) > MAX_IMAGE


def decode_update(body: Mapping[str, Any]) -> dict[str, str]:
    """POST /v1/chat/completions/{id}: the new metadata; null is none. Raises BadRequest."""
    if "metadata" not in body:
        missing("metadata", "an object, or null for none")
    return read_metadata(Fields(body))


def render_completion(completion: Mapping[str, Any]) -> bytes:
    """A kept completion."""
    return dumps(completion)


def render_deleted(ident: str, kind: str) -> bytes:
    """What is told of a deletion; ``kind`` is the object's."""
    return dumps({"object": kind, "id": ident, "deleted": True})
