"""Ollama."""

from __future__ import annotations

from typing import Any

from .words import ADAPTERS, BOOL, INT, LIST, MESSAGES, MODEL, NUM, OBJ, STRING, TOOLS, Fields

_OLLAMA: dict[str, Any] = {
    "model": MODEL,
    "stream": (BOOL, "Send NDJSON as the answer is made (default true).", {}),
    "format": ([STRING, OBJ], '"json" or a JSON Schema the answer must satisfy.', {}),
    "options": (OBJ, "num_ctx, temperature, top_k, top_p, seed, num_predict, stop and the others.", {}),
    "keep_alive": ([STRING, NUM], "Seconds or a duration; negative for ever, 0 unloads.", {}),
    "adapters": ADAPTERS,
    "think": ([BOOL, STRING], "Let a thinking model think: true, false, low, medium, high, max.", {}),
    "logprobs": (BOOL, "Return log-probabilities.", {}),
    "top_logprobs": (INT, "Alternatives per token.", {"minimum": 0, "maximum": 20}),
    "truncate": (BOOL, "Drop the oldest messages when the prompt is too long (default true).", {}),
    "shift": (BOOL, "Whether a prompt that is too long may be shortened (default true).", {}),
    "think_budget": (INT, "Most tokens of thinking (extension).", {"minimum": 0}),
    "grammar": (OBJ, "kind (gbnf, lark, regex) and text, instead of format (extension).", {}),
    "format_enforcement": (STRING, "after: check what cannot be enforced (extension).", {}),
    "_debug_render_only": (BOOL, "Only show the prompt that the model would read.", {}),
}
FIELDS: Fields = {
    "OllamaChat": (
        {
            **_OLLAMA,
            "messages": MESSAGES,
            "tools": TOOLS,
            "tool_choice": ([STRING, OBJ], "auto, none, required, or a named function (extension).", {}),
        },
        ("model",),
    ),
    "OllamaGenerate": (
        {
            **_OLLAMA,
            "prompt": (STRING, "The prompt; empty loads the model, or unloads it with keep_alive 0.", {}),
            "suffix": (STRING, "Text after the gap (fill in the middle).", {}),
            "system": (STRING, "System message.", {}),
            "template": (STRING, "Chat template instead of the model's, Go or Jinja.", {}),
            "raw": (BOOL, "Use the prompt as it is, without a template.", {}),
            "context": (LIST, "Token ids that an earlier answer returned.", {"items": {"type": INT}}),
            "images": (LIST, "Base64 images, for models that see.", {"items": {"type": STRING}}),
        },
        ("model",),
    ),
    "OllamaEmbed": (
        {
            "model": MODEL,
            "input": ([STRING, LIST], "A text or several.", {}),
            "truncate": _OLLAMA["truncate"],
            "dimensions": (INT, "Keep the first values and normalise again.", {"minimum": 1}),
            "keep_alive": _OLLAMA["keep_alive"],
            "options": _OLLAMA["options"],
        },
        ("model",),
    ),
    "OllamaEmbeddings": (
        {
            "model": MODEL,
            "prompt": (STRING, "The text.", {}),
            "keep_alive": _OLLAMA["keep_alive"],
            "options": _OLLAMA["options"],
        },
        ("model",),
    ),
    "OllamaName": ({"model": MODEL}, ("model",)),
    "OllamaShow": (
        {
            "model": MODEL,
            "verbose": (BOOL, "Long arrays too.", {}),
            "system": (STRING, "Shown as if the model had it.", {}),
            "options": (OBJ, "Shown as if the model had them.", {}),
        },
        ("model",),
    ),
    "OllamaPull": (
        {
            "model": MODEL,
            "stream": _OLLAMA["stream"],
            "insecure": (BOOL, "Accept plain HTTP.", {}),
            "fresh": (BOOL, "Ask the source even where another program has a copy.", {}),
            "use_embedded_template": (BOOL, "Use the template inside the weights.", {}),
        },
        ("model",),
    ),
    "OllamaPush": (
        {
            "model": MODEL,
            "target": (STRING, "Where to; without it the model's own name.", {}),
            "stream": _OLLAMA["stream"],
            "insecure": (BOOL, "Accept plain HTTP.", {}),
        },
        ("model",),
    ),
    "OllamaCreate": (
        {
            "model": MODEL,
            "from": (STRING, "A model or a source to build on.", {}),
            "files": (OBJ, "File names and the digests of uploaded blobs.", {}),
            "adapters": (OBJ, "The same for LoRA adapters.", {}),
            "template": (STRING, "Chat template, Go or Jinja.", {}),
            "system": (STRING, "System message.", {}),
            "parameters": (OBJ, "Default options.", {}),
            "messages": (LIST, "Messages every chat begins with.", {"items": {"type": OBJ}}),
            "quantize": (STRING, "Type to quantise to, such as Q4_K_M.", {}),
            "stream": _OLLAMA["stream"],
        },
        ("model",),
    ),
    "OllamaCopy": (
        {"source": (STRING, "A model.", {}), "destination": (STRING, "Its further name.", {})},
        ("source", "destination"),
    ),
}
