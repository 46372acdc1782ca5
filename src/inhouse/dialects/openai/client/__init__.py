"""OpenAI's HTTP API, client half: requests as bodies, answers as events.

For servers that speak it: engines of others on this machine, providers elsewhere. What such a server
understands beyond the common core is told by ``takes`` (see ``core.features``); what it does not is refused
with the field named, never left out in silence.
"""

from ....core.features import FEATURES, OPENAI, SGLANG, VLLM
from .embed import decode_embed, encode_embed
from .encode import Order, Service, encode_chat, encode_complete
from .failures import from_answer
from .features import need
from .stream import ChatDecoder, TextDecoder
from .tokens import decode_text, decode_tokens, encode_detokenize, encode_render, encode_tokenize

__all__ = [
    "FEATURES",
    "OPENAI",
    "SGLANG",
    "VLLM",
    "ChatDecoder",
    "Order",
    "Service",
    "TextDecoder",
    "decode_embed",
    "decode_text",
    "decode_tokens",
    "encode_chat",
    "encode_complete",
    "encode_detokenize",
    "encode_embed",
    "encode_render",
    "encode_tokenize",
    "from_answer",
    "need",
]
