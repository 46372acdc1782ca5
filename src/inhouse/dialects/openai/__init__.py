"""OpenAI's HTTP API, server half: chat completions, completions, embeddings, models, files.

Written after the current public reference. Every field of it is supported, noted (accepted without
effect) or refused by name: the table is docs/reference/api-openai.md, and a test keeps it true.
"""

from .errors import render_error
from .models import render_model, render_models
from .requests import decode_chat, decode_completions, decode_embeddings
from .stored import StoredChat

__all__ = [
    "StoredChat",
    "decode_chat",
    "decode_completions",
    "decode_embeddings",
    "render_error",
    "render_model",
    "render_models",
]
