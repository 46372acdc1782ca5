"""/tokenize and /detokenize as vLLM has them; OpenAI's own wire has no such thing.

Source: ``vllm/entrypoints/serve/tokenize`` (TokenizeCompletionRequest, TokenizeChatRequest,
TokenizeResponse, DetokenizeRequest, DetokenizeResponse).
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from ....core.requests import Chat
from .encode import Service, template_fields
from .features import need
from .messages import encode_messages, encode_tools
from .wire import unreadable

TOKENIZE, DETOKENIZE = "/tokenize", "/detokenize"
_CANNOT = "It cannot count or show tokens."


T = TypeVar("T")


class _Tokens(msgspec.Struct):
    tokens: list[int]
    max_model_len: int = 0


class _Text(msgspec.Struct):
    prompt: str


def encode_tokenize(text: str, service: Service, *, special: bool) -> dict[str, Any]:
    """The body for a text. Raises Unsupported for a server without tokens."""
    need(service.takes, "tokenize", "model", hint=_CANNOT)
    return {"model": service.model, "prompt": text, "add_special_tokens": special}


def encode_render(chat: Chat, service: Service) -> dict[str, Any]:
    """The body for the prompt of a chat. Raises Unsupported for a server without tokens."""
    takes = service.takes
    need(takes, "tokenize", "model", hint=_CANNOT)
    body: dict[str, Any] = {"model": service.model, "messages": encode_messages(chat.messages, takes)}
    goes_on = chat.messages[-1].role == "assistant"
    body |= {"add_generation_prompt": not goes_on, "continue_final_message": goes_on}
    tools = encode_tools(chat.tools, chat.tool_choice, None, takes)
    return body | template_fields(chat, takes) | ({"tools": tools["tools"]} if tools else {})


def encode_detokenize(ids: tuple[int, ...], service: Service) -> dict[str, Any]:
    """The body for token ids. Raises Unsupported for a server without tokens."""
    need(service.takes, "tokenize", "model", hint=_CANNOT)
    return {"model": service.model, "tokens": list(ids)}


def decode_tokens(body: bytes) -> tuple[int, ...]:
    """Token ids. Raises EngineError."""
    return tuple(_read(body, _Tokens).tokens)


def decode_text(body: bytes) -> str:
    """The text of token ids. Raises EngineError."""
    return _read(body, _Text).prompt


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise unreadable(error) from error
