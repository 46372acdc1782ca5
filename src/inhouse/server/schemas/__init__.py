"""Schemas of request bodies for the reference. Compact: ``field: (type, what it does, more)``."""

from __future__ import annotations

from typing import Any

from . import anthropic, inhouse, ollama, openai, responses, tasks

_PARTS = (openai.FIELDS, responses.FIELDS, anthropic.FIELDS, tasks.FIELDS, ollama.FIELDS, inhouse.FIELDS)


def _schema(fields: dict[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    properties = {
        name: {"type": kind, "description": text, **more} for name, (kind, text, more) in fields.items()
    }
    return {"type": "object", "properties": properties, "required": list(required)}


SCHEMAS: dict[str, dict[str, Any]] = {
    **{name: _schema(*spec) for part in _PARTS for name, spec in part.items()},
    "Error": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]},
    "OpenAIError": {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                },
                "required": ["message", "type", "param", "code"],
            }
        },
        "required": ["error"],
    },
}

SCHEMAS["AnthropicError"] = {
    "type": "object",
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
            "required": ["type", "message"],
        },
        "request_id": {"type": ["string", "null"]},
    },
    "required": ["type", "error"],
}

_HELLO = [{"role": "user", "content": "Why is the sky blue?"}]

EXAMPLES: dict[str, Any] = {
    "Chat": {"model": "smollm2", "messages": _HELLO, "stream": True},
    "Completion": {"model": "smollm2", "prompt": "The capital of France is", "max_tokens": 8},
    "Embedding": {"model": "smollm2", "input": "a sentence"},
    "Response": {"model": "smollm2", "input": "Why is the sky blue?"},
    "ResponseCount": {"model": "smollm2", "input": "Why is the sky blue?"},
    "Message": {"model": "smollm2", "max_tokens": 64, "messages": _HELLO},
    "MessageCount": {"model": "smollm2", "messages": _HELLO},
    "Rerank": {"model": "all-minilm", "query": "Where is Paris?", "documents": ["In France.", "A fox."]},
    "RerankV2": {"model": "all-minilm", "query": "Where is Paris?", "documents": ["In France.", "A fox."]},
    "Score": {"model": "all-minilm", "text_1": "Where is Paris?", "text_2": ["In France.", "A fox."]},
    "ApplyTemplate": {"model": "smollm2", "messages": _HELLO},
    "Tokenize": {"model": "smollm2", "content": "a sentence"},
    "OllamaChat": {"model": "smollm2", "messages": _HELLO},
    "OllamaGenerate": {"model": "smollm2", "prompt": "Why is the sky blue?"},
    "OllamaEmbed": {"model": "smollm2", "input": ["one", "two"]},
    "OllamaShow": {"model": "smollm2"},
    "OllamaPull": {"model": "smollm2"},
}
