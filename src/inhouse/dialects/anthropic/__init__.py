"""Anthropic's Messages API, server half: messages, counting tokens, models.

Written after the current public reference. Every field of it is supported, noted (accepted without
effect) or refused by name: the table is docs/reference/api-anthropic.md, and a test keeps it true.
"""

from .errors import render_error
from .headers import check_headers
from .models import render_model, render_models
from .requests import decode_count_tokens, decode_messages

__all__ = [
    "check_headers",
    "decode_count_tokens",
    "decode_messages",
    "render_error",
    "render_model",
    "render_models",
]
