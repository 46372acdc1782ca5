"""OpenAI: responses and conversations."""

from __future__ import annotations

from typing import Any

from .words import BOOL, INT, LIST, MODEL, OBJ, SAMPLING, STRING, Fields

_ITEMS: Any = (LIST, "Messages, reasoning, calls and outputs of calls.", {"items": {"type": OBJ}})
_METADATA: Any = (OBJ, "Up to 16 texts by name.", {})
_ASKED: dict[str, Any] = {
    "model": MODEL,
    "input": ([STRING, LIST], "A text, or items.", {"items": {"type": OBJ}}),
    "instructions": (STRING, "System message of this response alone.", {}),
    "previous_response_id": (STRING, "Continue from this response.", {}),
    "conversation": ([STRING, OBJ], "A conversation to continue and to add to.", {}),
    "tools": (LIST, "Functions and custom tools the model may call.", {"items": {"type": OBJ}}),
    "tool_choice": ([STRING, OBJ], "none, auto, required, one tool, or allowed_tools.", {}),
    "parallel_tool_calls": (BOOL, "Whether several calls may come at once.", {}),
    "text": (OBJ, "format: text, json_object or json_schema.", {}),
    "reasoning": (OBJ, "effort, and summary auto or detailed.", {}),
    "truncation": (STRING, "auto drops the oldest items when the prompt is too long.", {}),
}
_RESPONSE: dict[str, Any] = {
    **{name: spec for name, spec in SAMPLING.items() if name not in ("n", "stream_options")},
    **_ASKED,
    "stream_options": (OBJ, "include_obfuscation.", {}),
    "max_output_tokens": (INT, "Most tokens to make, those of the reasoning too.", {"minimum": 1}),
    "store": (BOOL, "Keep the response (default true).", {}),
    "background": (BOOL, "Run on without the client; ask for the response later.", {}),
    "include": (
        LIST,
        "message.output_text.logprobs, reasoning.encrypted_content.",
        {"items": {"type": STRING}},
    ),
    "metadata": _METADATA,
    "service_tier": (STRING, "priority before default before flex.", {}),
    "top_logprobs": (INT, "Alternatives per token.", {"minimum": 0, "maximum": 20}),
}

FIELDS: Fields = {
    "Response": (_RESPONSE, ("model",)),
    "ResponseCount": (_ASKED, ("model",)),
    "Conversation": ({"items": _ITEMS, "metadata": _METADATA}, ()),
    "ConversationUpdate": ({"metadata": _METADATA}, ("metadata",)),
    "ConversationItems": ({"items": _ITEMS}, ("items",)),
}
