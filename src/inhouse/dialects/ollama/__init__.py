"""Ollama's native HTTP API, server half, with its defaults, quirks and error texts.

Every field is supported, noted (accepted without effect) or refused by name: the table is
docs/reference/api-ollama.md, and a test keeps it true. Where Ollama cuts a prompt in silence, the last
object carries ``warnings`` here.
"""

from .create import CreateOrder, PushOrder, decode_create, decode_push
from .errors import render_error
from .manage import (
    Loaded,
    PullEncoder,
    PullOrder,
    ShowOrder,
    decode_copy,
    decode_name,
    decode_pull,
    decode_show,
    render_ps,
    render_show,
    render_tags,
    render_version,
)
from .requests import decode_chat, decode_embed, decode_embeddings, decode_generate

__all__ = [
    "CreateOrder",
    "Loaded",
    "PullEncoder",
    "PullOrder",
    "PushOrder",
    "ShowOrder",
    "decode_chat",
    "decode_copy",
    "decode_create",
    "decode_embed",
    "decode_embeddings",
    "decode_generate",
    "decode_name",
    "decode_pull",
    "decode_push",
    "decode_show",
    "render_error",
    "render_ps",
    "render_show",
    "render_tags",
    "render_version",
]
