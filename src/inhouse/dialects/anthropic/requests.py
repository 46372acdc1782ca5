"""Bodies of /v1/messages and /v1/messages/count_tokens -> requests."""

from __future__ import annotations

from typing import Any

from ...core.errors import BadRequest
from ...core.json import parse
from ...core.messages import Sampling
from ...core.requests import Chat
from ..adapters import read_adapters
from ..codec import Decoded, Encoder, rendering
from ..fields import INT32_MAX, Fields, check_text, missing, wrong_value
from .caching import Pins
from .formats import read_format
from .messages import read_conversation
from .shapes import Head
from .stream import MessageStream
from .thinking import Thinking, read_thinking
from .tools import read_tool_choice, read_tools
from .whole import CountWhole, MessageWhole

MAX_STOPS = 64
MAX_STOP_CHARS = 1024
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "max", "max": "max"}
_DEFAULTS = Sampling(temperature=1.0, top_p=1.0)
_REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "container": ((), "No code is run here."),
    "mcp_servers": (([],), "Connect to MCP servers in the client and pass their tools."),
    "inference_geo": (("global",), "Everything runs on this machine."),
    "speed": (("standard",), "A model here has one speed."),
    "compaction": ((), "Shorten the conversation in the client."),
    "fallbacks": (([],), ""),
    "fallback_credit_token": ((), ""),
    "thread": ((), "Send the whole conversation."),
    "billing_policy": ((), ""),
    "user_profile_id": ((), ""),
}


def decode_messages(body: bytes) -> Decoded:
    """POST /v1/messages. Raises BadRequest."""
    fields = Fields(parse(body))
    model = fields.required_text("model")
    max_tokens = fields.whole("max_tokens", 0, INT32_MAX)
    if max_tokens is None:
        missing("max_tokens", "a whole number from 1")
    stream = fields.flag("stream", False)
    sampling = Sampling(
        temperature=fields.number("temperature", 0, 1),
        top_p=fields.number("top_p", 0, 1),
        top_k=fields.whole("top_k", 0, INT32_MAX),
        max_tokens=max_tokens,
        stop=_stops(fields),
        fallback=_DEFAULTS,
    )
    chat, head = _chat(fields, model, sampling)
    if max_tokens == 0:
        _check_warming(chat, stream)
    fields.choice("service_tier", "auto", "standard_only")
    fields.note("service_tier")
    _metadata(fields)
    encoder: Encoder = MessageStream(head) if stream else MessageWhole(head)
    return Decoded(chat, encoder, fields.noted())


def decode_count_tokens(body: bytes) -> Decoded:
    """POST /v1/messages/count_tokens: the tokens of the prompt that the same message would have."""
    fields = Fields(parse(body))
    model = fields.required_text("model")
    chat, head = _chat(fields, model, Sampling(fallback=_DEFAULTS))
    return Decoded(rendering(chat), CountWhole(edits=head.edits), fields.noted())


def _chat(fields: Fields, model: str, sampling: Sampling) -> tuple[Chat, Head]:
    """What both routes read, as a chat; and what its answer needs to know."""
    pins = Pins()
    pins.read(fields)
    for name, (harmless, why) in _REFUSED.items():
        fields.refuse(name, *harmless, why=why)
    conversation = read_conversation(fields, pins)
    tools = read_tools(fields, pins, conversation.references)
    choice, parallel = read_tool_choice(fields, tools)
    output = fields.mapping("output_config")
    effort = None if output is None else output.choice("effort", *_EFFORTS)
    if output is not None:
        output.refuse("task_budget", why="Use max_tokens.")
    # With tools a budget may cover several turns and so be larger than max_tokens.
    thinking = read_thinking(fields, _EFFORTS.get(effort or ""), None if tools else sampling.max_tokens)
    if conversation.prefilled:
        thinking = _without(thinking)
    chat = Chat(
        model=model,
        keep_alive=fields.duration("keep_alive"),
        adapters=read_adapters(fields),
        pin=pins.seconds,
        messages=conversation.messages,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        format=read_format(fields, output),
        sampling=sampling,
        think=thinking.think,
        think_wish=thinking.wish,
        think_budget=thinking.budget,
    )
    head = Head(
        model,
        sampling.max_tokens or 0,
        sampling.stop,
        pin=pins.seconds,
        hidden=thinking.hidden,
        edits=_context_management(fields),
        diagnosed=_diagnostics(fields),
    )
    return chat, head


def _without(thinking: Thinking) -> Thinking:
    """An answer that has begun already is not thought about: refused when that was demanded."""
    if thinking.think:
        raise BadRequest(
            "Prefilling assistant messages is not possible with thinking enabled.",
            hint="End with a user message, or switch thinking off.",
            param="messages",
        )
    return Thinking(hidden=thinking.hidden)


def _check_warming(chat: Chat, stream: bool) -> None:
    """``max_tokens`` 0 only reads the prompt into the cache, so nothing may be asked of the answer."""
    asked = {
        "stream": stream,
        "thinking": bool(chat.think),
        "output_config.format": chat.format is not None,
        "tool_choice": chat.tool_choice.mode == "required",
    }
    for name, given in asked.items():
        if given:
            raise BadRequest(
                f"'{name}' cannot be used with max_tokens 0.", hint="Ask for at least one token.", param=name
            )


def _stops(fields: Fields) -> tuple[str, ...]:
    found = fields.items("stop_sequences", MAX_STOPS) or []
    for i, text in enumerate(found):
        param = f"stop_sequences[{i}]"
        if not 1 <= len(check_text(param, text)) <= MAX_STOP_CHARS:
            wrong_value(param, f"a string of 1 to {MAX_STOP_CHARS} characters")
    return tuple(found)


def _metadata(fields: Fields) -> None:
    metadata = fields.mapping("metadata")
    if metadata is not None:
        metadata.text("user_id", longest=512)
        metadata.note("user_id")


def _context_management(fields: Fields) -> bool:
    """Only an edit that keeps everything is possible. True when the answer should tell of edits."""
    wanted = fields.mapping("context_management")
    if wanted is None:
        return False
    for edit in wanted.objects("edits", 10):
        if edit.required_text("type") != "clear_thinking_20251015":
            edit.refuse("type", why="Shorten the conversation in the client.")
        edit.refuse("keep", "all", {"type": "all"}, why="Only 'all' is possible.")
        if not edit.has("keep"):
            missing(edit.at("keep"), "'all'")
    return True


def _diagnostics(fields: Fields) -> bool:
    """Why a cache was missed is not known; the answer says so to whoever asks."""
    wanted = fields.mapping("diagnostics")
    if wanted is None:
        return False
    wanted.text("previous_message_id", longest=256)
    return True
