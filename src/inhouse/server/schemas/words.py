"""What the fields of several APIs have in common."""

from __future__ import annotations

from typing import Any

STRING, INT, NUM, BOOL, OBJ = "string", "integer", "number", "boolean", "object"
LIST = "array"

MODEL: Any = (STRING, "Name of a model, as inhouse list shows it.", {})
STREAM: Any = (BOOL, "Send the answer as it is made.", {})
ADAPTERS: Any = (LIST, "Models whose LoRA adapters are used as well (extension).", {"items": {"type": OBJ}})
SAMPLING: dict[str, Any] = {
    "temperature": (NUM, "Sampling temperature; 0 is greedy.", {"minimum": 0, "maximum": 2}),
    "top_p": (NUM, "Nucleus sampling.", {"minimum": 0, "maximum": 1}),
    "seed": (INT, "Seed of the random generator; the same seed gives the same answer.", {}),
    "stop": ([STRING, LIST], "Up to four texts that end the answer.", {"items": {"type": STRING}}),
    "n": (INT, "How many answers to make.", {"minimum": 1, "maximum": 128}),
    "presence_penalty": (NUM, "Penalty for tokens already present.", {"minimum": -2, "maximum": 2}),
    "frequency_penalty": (NUM, "Penalty growing with a token's frequency.", {"minimum": -2, "maximum": 2}),
    "logit_bias": (OBJ, "Token id to bias, -100 to 100; up to 300 entries.", {}),
    "stream": STREAM,
    "stream_options": (OBJ, "include_usage: send token counts in a last chunk.", {}),
    "keep_alive": ([STRING, NUM], "How long the model stays loaded afterwards (extension).", {}),
    "adapters": ADAPTERS,
    "top_k": (INT, "Sample from the k likeliest tokens (extension).", {"minimum": -1}),
    "min_p": (NUM, "Least probability relative to the likeliest (extension).", {"minimum": 0, "maximum": 1}),
    "repeat_penalty": (NUM, "Penalty for repeated tokens (extension).", {"minimum": 0.1}),
}
MESSAGES: Any = (LIST, "The conversation so far.", {"items": {"type": OBJ}})
TOOLS: Any = (LIST, "Functions the model may call.", {"items": {"type": OBJ}})

Fields = dict[str, tuple[dict[str, Any], tuple[str, ...]]]
"""Name of a schema: its fields, and those that must be there."""
