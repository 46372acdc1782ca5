"""OpenAI's Responses API, server half: requests, answers in all their events, conversations.

    decode_create(body) -> Order · Order.compose(items) -> Chat · ResponseEncoder: events -> bytes

Written after the current public reference. Every field is supported, noted or refused by name: the table
is docs/reference/api-responses.md, and a test keeps it true.
"""

from .content import named_files
from .conversations import (
    conversation_object,
    decode_conversation,
    decode_conversation_update,
    decode_items,
    renewed,
)
from .encoder import ResponseEncoder, Style
from .errors import render_error
from .include import shown_item
from .items import REFERENCE
from .names import fresh
from .order import Head, Order
from .requests import check_include, decode_count, decode_create

__all__ = [
    "REFERENCE",
    "Head",
    "Order",
    "ResponseEncoder",
    "Style",
    "check_include",
    "conversation_object",
    "decode_conversation",
    "decode_conversation_update",
    "decode_count",
    "decode_create",
    "decode_items",
    "fresh",
    "named_files",
    "render_error",
    "renewed",
    "shown_item",
]
