"""OpenAI: chat, completions, embeddings."""

from __future__ import annotations

from typing import Any

from .words import BOOL, INT, LIST, MESSAGES, MODEL, OBJ, SAMPLING, STRING, TOOLS, Fields

_INPUT: Any = ([STRING, LIST], "A text, several texts, or token ids.", {})

FIELDS: Fields = {
    "Chat": (
        {
            "model": MODEL,
            "messages": MESSAGES,
            **SAMPLING,
            "max_completion_tokens": (INT, "Most tokens to generate.", {"minimum": 1}),
            "max_tokens": (INT, "The same, old name.", {"minimum": 1}),
            "tools": TOOLS,
            "tool_choice": ([STRING, OBJ], "auto, none, required, or a named function.", {}),
            "parallel_tool_calls": (BOOL, "Whether several calls may be made in one answer.", {}),
            "response_format": (OBJ, "text, json_object, or json_schema (enforced while decoding).", {}),
            "logprobs": (BOOL, "Return log-probabilities.", {}),
            "top_logprobs": (INT, "Alternatives per token; needs logprobs.", {"minimum": 0, "maximum": 20}),
            "reasoning_effort": (STRING, "How much a thinking model thinks; none turns it off.", {}),
            "think_budget": (INT, "Most tokens of reasoning (extension).", {"minimum": 0}),
            "store": (BOOL, "Keep the answer, to be had again later.", {}),
            "metadata": (OBJ, "Up to 16 pairs of texts, kept with it.", {}),
            "service_tier": (STRING, "priority and flex: before and after others in the queue.", {}),
            "prompt_cache_retention": (STRING, "24h holds the prompt for a day.", {}),
            "grammar": (STRING, "GBNF that the answer follows (extension).", {}),
            "structured_outputs": (OBJ, "json, regex, choice or grammar (extension of vLLM).", {}),
            "chat_template_kwargs": (OBJ, "Further variables of the chat template (extension).", {}),
        },
        ("model", "messages"),
    ),
    "Completion": (
        {
            "model": MODEL,
            "prompt": ([STRING, LIST], "A text, several texts, or token ids.", {}),
            **SAMPLING,
            "suffix": (STRING, "Text after the gap (fill in the middle).", {}),
            "max_tokens": (INT, "Most tokens to generate (default 16).", {"minimum": 1}),
            "echo": (BOOL, "Return the prompt too.", {}),
            "best_of": (
                INT,
                "Candidates, of which the n likeliest are given.",
                {"minimum": 1, "maximum": 128},
            ),
            "grammar": (STRING, "GBNF that the answer follows (extension).", {}),
            "logprobs": (INT, "Alternatives per token.", {"minimum": 0, "maximum": 5}),
        },
        ("model",),
    ),
    "Metadata": ({"metadata": ([OBJ, "null"], "Up to 16 pairs of texts.", {})}, ("metadata",)),
    "Embedding": (
        {
            "model": MODEL,
            "input": _INPUT,
            "dimensions": (INT, "Keep the first values and normalise again.", {"minimum": 1}),
            "encoding_format": (STRING, "float or base64.", {"enum": ["float", "base64"]}),
        },
        ("model", "input"),
    ),
}
