"""Anthropic: messages."""

from __future__ import annotations

from typing import Any

from .words import ADAPTERS, INT, LIST, MESSAGES, MODEL, NUM, OBJ, SAMPLING, STREAM, STRING, TOOLS, Fields

_PROMPT: dict[str, Any] = {
    "model": MODEL,
    "messages": MESSAGES,
    "system": ([STRING, LIST], "System prompt, a text or text blocks.", {}),
    "tools": TOOLS,
    "tool_choice": (OBJ, "type auto, any, tool (with name) or none; disable_parallel_tool_use.", {}),
    "thinking": (OBJ, "type enabled (with budget_tokens), adaptive or disabled; display.", {}),
    "output_config": (OBJ, "effort, and format with a JSON Schema.", {}),
    "cache_control": (OBJ, "Keep the prompt's cache for a ttl of 5m or 1h.", {}),
    "context_management": (OBJ, "edits that keep everything.", {}),
    "diagnostics": (OBJ, "Ask for cache diagnostics.", {}),
    "keep_alive": ([STRING, NUM], "How long the model stays loaded afterwards (extension).", {}),
    "adapters": ADAPTERS,
}
FIELDS: Fields = {
    "Message": (
        {
            **_PROMPT,
            "max_tokens": (INT, "Most tokens to generate; 0 only fills the cache.", {"minimum": 0}),
            "stop_sequences": (LIST, "Texts that end the answer.", {"items": {"type": STRING}}),
            "stream": STREAM,
            "temperature": (NUM, "Sampling temperature; 0 is greedy.", {"minimum": 0, "maximum": 1}),
            "top_k": (INT, "Sample from the k likeliest tokens.", {"minimum": 0}),
            "top_p": SAMPLING["top_p"],
            "metadata": (OBJ, "user_id.", {}),
            "service_tier": (STRING, "auto or standard_only.", {"enum": ["auto", "standard_only"]}),
        },
        ("model", "max_tokens", "messages"),
    ),
    "MessageCount": (_PROMPT, ("model", "messages")),
}
