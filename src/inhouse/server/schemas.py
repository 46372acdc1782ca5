"""Schemas of request bodies for the reference. Compact: ``field: (type, what it does, more)``."""

from __future__ import annotations

from typing import Any

_STRING, _INT, _NUM, _BOOL, _OBJ = "string", "integer", "number", "boolean", "object"
_LIST = "array"

_MODEL: Any = (_STRING, "Name of a model, as inhouse list shows it.", {})
_STREAM: Any = (_BOOL, "Send the answer as it is made.", {})
_SAMPLING: dict[str, Any] = {
    "temperature": (_NUM, "Sampling temperature; 0 is greedy.", {"minimum": 0, "maximum": 2}),
    "top_p": (_NUM, "Nucleus sampling.", {"minimum": 0, "maximum": 1}),
    "seed": (_INT, "Seed of the random generator; the same seed gives the same answer.", {}),
    "stop": ([_STRING, _LIST], "Up to four texts that end the answer.", {"items": {"type": _STRING}}),
    "n": (_INT, "How many answers to make.", {"minimum": 1, "maximum": 128}),
    "presence_penalty": (_NUM, "Penalty for tokens already present.", {"minimum": -2, "maximum": 2}),
    "frequency_penalty": (_NUM, "Penalty growing with a token's frequency.", {"minimum": -2, "maximum": 2}),
    "logit_bias": (_OBJ, "Token id to bias, -100 to 100; up to 300 entries.", {}),
    "stream": _STREAM,
    "stream_options": (_OBJ, "include_usage: send token counts in a last chunk.", {}),
    "keep_alive": ([_STRING, _NUM], "How long the model stays loaded afterwards (extension).", {}),
    "top_k": (_INT, "Sample from the k likeliest tokens (extension).", {"minimum": -1}),
    "min_p": (_NUM, "Least probability relative to the likeliest (extension).", {"minimum": 0, "maximum": 1}),
    "repeat_penalty": (_NUM, "Penalty for repeated tokens (extension).", {"minimum": 0.1}),
}
_OLLAMA: dict[str, Any] = {
    "model": _MODEL,
    "stream": (_BOOL, "Send NDJSON as the answer is made (default true).", {}),
    "format": ([_STRING, _OBJ], '"json" or a JSON Schema the answer must satisfy.', {}),
    "options": (_OBJ, "num_ctx, temperature, top_k, top_p, seed, num_predict, stop and the others.", {}),
    "keep_alive": ([_STRING, _NUM], "Seconds or a duration; negative for ever, 0 unloads.", {}),
    "think": ([_BOOL, _STRING], "Let a thinking model think: true, false, low, medium, high, max.", {}),
    "logprobs": (_BOOL, "Return log-probabilities.", {}),
    "top_logprobs": (_INT, "Alternatives per token.", {"minimum": 0, "maximum": 20}),
    "truncate": (_BOOL, "Drop the oldest messages when the prompt is too long (default true).", {}),
    "shift": (_BOOL, "Whether a prompt that is too long may be shortened (default true).", {}),
    "think_budget": (_INT, "Most tokens of thinking (extension).", {"minimum": 0}),
    "grammar": (_OBJ, "kind (gbnf, lark, regex) and text, instead of format (extension).", {}),
    "format_enforcement": (_STRING, "after: check what cannot be enforced (extension).", {}),
    "_debug_render_only": (_BOOL, "Only show the prompt that the model would read.", {}),
}
_MESSAGES: Any = (_LIST, "The conversation so far.", {"items": {"type": _OBJ}})
_TOOLS: Any = (_LIST, "Functions the model may call.", {"items": {"type": _OBJ}})
_PROMPT: dict[str, Any] = {
    "model": _MODEL,
    "messages": _MESSAGES,
    "system": ([_STRING, _LIST], "System prompt, a text or text blocks.", {}),
    "tools": _TOOLS,
    "tool_choice": (_OBJ, "type auto, any, tool (with name) or none; disable_parallel_tool_use.", {}),
    "thinking": (_OBJ, "type enabled (with budget_tokens), adaptive or disabled; display.", {}),
    "output_config": (_OBJ, "effort, and format with a JSON Schema.", {}),
    "cache_control": (_OBJ, "Keep the prompt's cache for a ttl of 5m or 1h.", {}),
    "context_management": (_OBJ, "edits that keep everything.", {}),
    "diagnostics": (_OBJ, "Ask for cache diagnostics.", {}),
    "keep_alive": ([_STRING, _NUM], "How long the model stays loaded afterwards (extension).", {}),
}
_INPUT: Any = ([_STRING, _LIST], "A text, several texts, or token ids.", {})

_ITEMS: Any = (_LIST, "Messages, reasoning, calls and outputs of calls.", {"items": {"type": _OBJ}})
_METADATA: Any = (_OBJ, "Up to 16 texts by name.", {})
_ASKED: dict[str, Any] = {
    "model": _MODEL,
    "input": ([_STRING, _LIST], "A text, or items.", {"items": {"type": _OBJ}}),
    "instructions": (_STRING, "System message of this response alone.", {}),
    "previous_response_id": (_STRING, "Continue from this response.", {}),
    "conversation": ([_STRING, _OBJ], "A conversation to continue and to add to.", {}),
    "tools": (_LIST, "Functions and custom tools the model may call.", {"items": {"type": _OBJ}}),
    "tool_choice": ([_STRING, _OBJ], "none, auto, required, one tool, or allowed_tools.", {}),
    "parallel_tool_calls": (_BOOL, "Whether several calls may come at once.", {}),
    "text": (_OBJ, "format: text, json_object or json_schema.", {}),
    "reasoning": (_OBJ, "effort, and summary auto or detailed.", {}),
    "truncation": (_STRING, "auto drops the oldest items when the prompt is too long.", {}),
}
_RESPONSE: dict[str, Any] = {
    **{name: spec for name, spec in _SAMPLING.items() if name not in ("n", "stream_options")},
    **_ASKED,
    "stream_options": (_OBJ, "include_obfuscation.", {}),
    "max_output_tokens": (_INT, "Most tokens to make, those of the reasoning too.", {"minimum": 1}),
    "store": (_BOOL, "Keep the response (default true).", {}),
    "background": (_BOOL, "Run on without the client; ask for the response later.", {}),
    "include": (
        _LIST,
        "message.output_text.logprobs, reasoning.encrypted_content.",
        {"items": {"type": _STRING}},
    ),
    "metadata": _METADATA,
    "service_tier": (_STRING, "priority before default before flex.", {}),
    "top_logprobs": (_INT, "Alternatives per token.", {"minimum": 0, "maximum": 20}),
}

_TEXT: Any = ([_STRING, _OBJ], "A text, or an object with text.", {})
_RANKING: dict[str, Any] = {
    "raw_scores": (_BOOL, "The model's own figures instead of 0 to 1.", {}),
    "truncate": (_BOOL, "Cut documents that are too long.", {}),
    "max_tokens_per_doc": (_INT, "Cut every document to so many tokens.", {"minimum": 1}),
    "priority": (_INT, "Above 0: waits behind the others.", {"minimum": 0, "maximum": 999}),
    "keep_alive": _SAMPLING["keep_alive"],
}
_RERANK: dict[str, Any] = {
    "model": _MODEL,
    "query": _TEXT,
    "documents": (_LIST, "Texts, or objects with text.", {"items": {"type": [_STRING, _OBJ]}}),
    "top_n": (_INT, "The best ones only.", {"minimum": 1}),
    "return_documents": (_BOOL, "Whether the texts come back.", {}),
    **_RANKING,
}
_PAIRED: Any = ([_STRING, _LIST, _OBJ], "A text or several.", {})
_TASKS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "Rerank": (
        {**_RERANK, "texts": (_LIST, "TEI's name of documents; its shape comes back.", {})},
        ("model", "query"),
    ),
    "RerankV2": (_RERANK, ("model", "query", "documents")),
    "Score": (
        {
            "model": _MODEL,
            "text_1": _PAIRED,
            "text_2": _PAIRED,
            "queries": _PAIRED,
            "documents": _PAIRED,
            **_RANKING,
        },
        ("model",),
    ),
    "Tokenize": (
        {
            "model": _MODEL,
            "content": (_STRING, "A text (llama.cpp).", {"maxLength": 4_000_000}),
            "prompt": (_STRING, "A text (vLLM).", {"maxLength": 4_000_000}),
            "messages": (_LIST, "A conversation (vLLM).", {"items": {"type": _OBJ}}),
            "add_special": (_BOOL, "Add what the model puts around a text.", {}),
            "parse_special": (_BOOL, "Read the texts of control tokens as such.", {}),
            "with_pieces": (_BOOL, "The text of each token too.", {}),
            "return_token_strs": (_BOOL, "The texts in a list.", {}),
        },
        ("model",),
    ),
    "Detokenize": (
        {"model": _MODEL, "tokens": (_LIST, "Token ids.", {"items": {"type": _INT, "minimum": 0}})},
        ("model", "tokens"),
    ),
    "ApplyTemplate": (
        {
            "model": _MODEL,
            "messages": (_LIST, "The conversation so far.", {"items": {"type": _OBJ}}),
            "tools": (_LIST, "Functions the model may call.", {"items": {"type": _OBJ}}),
        },
        ("model", "messages"),
    ),
}

_FIELDS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "Response": (_RESPONSE, ("model",)),
    "ResponseCount": (_ASKED, ("model",)),
    "Conversation": ({"items": _ITEMS, "metadata": _METADATA}, ()),
    "ConversationUpdate": ({"metadata": _METADATA}, ("metadata",)),
    "ConversationItems": ({"items": _ITEMS}, ("items",)),
    "Chat": (
        {
            "model": _MODEL,
            "messages": _MESSAGES,
            **_SAMPLING,
            "max_completion_tokens": (_INT, "Most tokens to generate.", {"minimum": 1}),
            "max_tokens": (_INT, "The same, old name.", {"minimum": 1}),
            "tools": _TOOLS,
            "tool_choice": ([_STRING, _OBJ], "auto, none, required, or a named function.", {}),
            "parallel_tool_calls": (_BOOL, "Whether several calls may be made in one answer.", {}),
            "response_format": (_OBJ, "text, json_object, or json_schema (enforced while decoding).", {}),
            "logprobs": (_BOOL, "Return log-probabilities.", {}),
            "top_logprobs": (_INT, "Alternatives per token; needs logprobs.", {"minimum": 0, "maximum": 20}),
            "reasoning_effort": (_STRING, "How much a thinking model thinks; none turns it off.", {}),
            "think_budget": (_INT, "Most tokens of reasoning (extension).", {"minimum": 0}),
            "store": (_BOOL, "Keep the answer, to be had again later.", {}),
            "metadata": (_OBJ, "Up to 16 pairs of texts, kept with it.", {}),
            "service_tier": (_STRING, "priority and flex: before and after others in the queue.", {}),
            "prompt_cache_retention": (_STRING, "24h holds the prompt for a day.", {}),
            "grammar": (_STRING, "GBNF that the answer follows (extension).", {}),
            "structured_outputs": (_OBJ, "json, regex, choice or grammar (extension of vLLM).", {}),
            "chat_template_kwargs": (_OBJ, "Further variables of the chat template (extension).", {}),
        },
        ("model", "messages"),
    ),
    "Completion": (
        {
            "model": _MODEL,
            "prompt": ([_STRING, _LIST], "A text, several texts, or token ids.", {}),
            **_SAMPLING,
            "suffix": (_STRING, "Text after the gap (fill in the middle).", {}),
            "max_tokens": (_INT, "Most tokens to generate (default 16).", {"minimum": 1}),
            "echo": (_BOOL, "Return the prompt too.", {}),
            "best_of": (
                _INT,
                "Candidates, of which the n likeliest are given.",
                {"minimum": 1, "maximum": 128},
            ),
            "grammar": (_STRING, "GBNF that the answer follows (extension).", {}),
            "logprobs": (_INT, "Alternatives per token.", {"minimum": 0, "maximum": 5}),
        },
        ("model",),
    ),
    "Metadata": ({"metadata": ([_OBJ, "null"], "Up to 16 pairs of texts.", {})}, ("metadata",)),
    "Embedding": (
        {
            "model": _MODEL,
            "input": _INPUT,
            "dimensions": (_INT, "Keep the first values and normalise again.", {"minimum": 1}),
            "encoding_format": (_STRING, "float or base64.", {"enum": ["float", "base64"]}),
        },
        ("model", "input"),
    ),
    "Message": (
        {
            **_PROMPT,
            "max_tokens": (_INT, "Most tokens to generate; 0 only fills the cache.", {"minimum": 0}),
            "stop_sequences": (_LIST, "Texts that end the answer.", {"items": {"type": _STRING}}),
            "stream": _STREAM,
            "temperature": (_NUM, "Sampling temperature; 0 is greedy.", {"minimum": 0, "maximum": 1}),
            "top_k": (_INT, "Sample from the k likeliest tokens.", {"minimum": 0}),
            "top_p": _SAMPLING["top_p"],
            "metadata": (_OBJ, "user_id.", {}),
            "service_tier": (_STRING, "auto or standard_only.", {"enum": ["auto", "standard_only"]}),
        },
        ("model", "max_tokens", "messages"),
    ),
    "MessageCount": (_PROMPT, ("model", "messages")),
    "OllamaChat": (
        {
            **_OLLAMA,
            "messages": _MESSAGES,
            "tools": _TOOLS,
            "tool_choice": ([_STRING, _OBJ], "auto, none, required, or a named function (extension).", {}),
        },
        ("model",),
    ),
    "OllamaGenerate": (
        {
            **_OLLAMA,
            "prompt": (_STRING, "The prompt; empty loads the model, or unloads it with keep_alive 0.", {}),
            "suffix": (_STRING, "Text after the gap (fill in the middle).", {}),
            "system": (_STRING, "System message.", {}),
            "template": (_STRING, "Chat template instead of the model's, Go or Jinja.", {}),
            "raw": (_BOOL, "Use the prompt as it is, without a template.", {}),
            "context": (_LIST, "Token ids that an earlier answer returned.", {"items": {"type": _INT}}),
            "images": (_LIST, "Base64 images, for models that see.", {"items": {"type": _STRING}}),
        },
        ("model",),
    ),
    "OllamaEmbed": (
        {
            "model": _MODEL,
            "input": ([_STRING, _LIST], "A text or several.", {}),
            "truncate": _OLLAMA["truncate"],
            "dimensions": (_INT, "Keep the first values and normalise again.", {"minimum": 1}),
            "keep_alive": _OLLAMA["keep_alive"],
            "options": _OLLAMA["options"],
        },
        ("model",),
    ),
    "OllamaEmbeddings": (
        {
            "model": _MODEL,
            "prompt": (_STRING, "The text.", {}),
            "keep_alive": _OLLAMA["keep_alive"],
            "options": _OLLAMA["options"],
        },
        ("model",),
    ),
    "OllamaName": ({"model": _MODEL}, ("model",)),
    "OllamaShow": (
        {
            "model": _MODEL,
            "verbose": (_BOOL, "Long arrays too.", {}),
            "system": (_STRING, "Shown as if the model had it.", {}),
            "options": (_OBJ, "Shown as if the model had them.", {}),
        },
        ("model",),
    ),
    "OllamaPull": (
        {
            "model": _MODEL,
            "stream": _OLLAMA["stream"],
            "insecure": (_BOOL, "Accept plain HTTP.", {}),
            "fresh": (_BOOL, "Ask the source even where another program has a copy.", {}),
            "use_embedded_template": (_BOOL, "Use the template inside the weights.", {}),
        },
        ("model",),
    ),
    "OllamaPush": (
        {
            "model": _MODEL,
            "target": (_STRING, "Where to; without it the model's own name.", {}),
            "stream": _OLLAMA["stream"],
            "insecure": (_BOOL, "Accept plain HTTP.", {}),
        },
        ("model",),
    ),
    "OllamaCreate": (
        {
            "model": _MODEL,
            "from": (_STRING, "A model or a source to build on.", {}),
            "files": (_OBJ, "File names and the digests of uploaded blobs.", {}),
            "adapters": (_OBJ, "The same for LoRA adapters.", {}),
            "template": (_STRING, "Chat template, Go or Jinja.", {}),
            "system": (_STRING, "System message.", {}),
            "parameters": (_OBJ, "Default options.", {}),
            "messages": (_LIST, "Messages every chat begins with.", {"items": {"type": _OBJ}}),
            "quantize": (_STRING, "Type to quantise to, such as Q4_K_M.", {}),
            "stream": _OLLAMA["stream"],
        },
        ("model",),
    ),
    "Alias": (
        {"name": (_STRING, "The new name.", {}), "model": (_STRING, "The model it follows.", {})},
        ("name", "model"),
    ),
    "Prune": (
        {
            "dry_run": (_BOOL, "Only say what would be freed.", {}),
            "all": (_BOOL, "Also what was uploaded within the last hour.", {}),
        },
        (),
    ),
    "Verify": ({"repair": (_BOOL, "Pull damaged models again.", {})}, ()),
    "Models": ({"models": (_LIST, "Names; none is all.", {"items": {"type": _STRING}})}, ()),
    "Lock": (
        {
            "inhouse_lock": (_INT, "The format: 1.", {}),
            "models": (_LIST, "As in a lock file.", {"items": {"type": _OBJ}}),
        },
        ("inhouse_lock", "models"),
    ),
    "Diff": (
        {"model": _MODEL, "other": (_STRING, "Another model; without it the previous version.", {})},
        ("model",),
    ),
    "OllamaCopy": (
        {"source": (_STRING, "A model.", {}), "destination": (_STRING, "Its further name.", {})},
        ("source", "destination"),
    ),
}


def _schema(fields: dict[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    properties = {
        name: {"type": kind, "description": text, **more} for name, (kind, text, more) in fields.items()
    }
    return {"type": "object", "properties": properties, "required": list(required)}


SCHEMAS: dict[str, dict[str, Any]] = {
    **{name: _schema(*spec) for name, spec in _FIELDS.items()},
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
    "Tokenize": {"model": "smollm2", "content": "a sentence"},
    "OllamaChat": {"model": "smollm2", "messages": _HELLO},
    "OllamaGenerate": {"model": "smollm2", "prompt": "Why is the sky blue?"},
    "OllamaEmbed": {"model": "smollm2", "input": ["one", "two"]},
    "OllamaShow": {"model": "smollm2"},
    "OllamaPull": {"model": "smollm2"},
}
