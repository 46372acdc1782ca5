"""The client half of llama-server's wire: requests to bodies, streams to events; pure."""

from .content import Reading
from .embed import decode_embed, encode_embed, normalised
from .encode import Order, check_ids, encode_chat, encode_complete, encode_infill, fim_tokens, template_fields
from .failures import from_answer
from .stream import ChatDecoder, CompletionDecoder, Tally

__all__ = [
    "ChatDecoder",
    "CompletionDecoder",
    "Order",
    "Reading",
    "Tally",
    "check_ids",
    "decode_embed",
    "encode_chat",
    "encode_complete",
    "encode_embed",
    "encode_infill",
    "fim_tokens",
    "from_answer",
    "normalised",
    "template_fields",
]
