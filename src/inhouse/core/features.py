"""What a server of OpenAI's wire may understand, by name; a server is the set of what it takes.

Engines tell by it what their servers do (``Launch.takes``), settings what a command's server does, and the
wire's client half refuses the rest. Sources: OpenAI's API reference; vLLM's and
SGLang's pages on their OpenAI-compatible servers for what goes beyond it.
"""

from __future__ import annotations

from typing import Final

FEATURES: Final[dict[str, str]] = {
    "chat": "POST /v1/chat/completions",
    "completions": "POST /v1/completions",
    "embeddings": "POST /v1/embeddings",
    "stream_options": "stream_options.include_usage: a last chunk with the token counts",
    "max_completion_tokens": "that name for the limit of a chat answer (without it: max_tokens)",
    "seed": "seed",
    "stop": "stop",
    "n": "n, several answers to one request (without it they are made one after the other)",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "logit_bias": "logit_bias",
    "logprobs": "logprobs, top_logprobs",
    "tools": "tools, and calls in the answer",
    "tool_choice": "tool_choice required, or a function by name",
    "parallel_tool_calls": "parallel_tool_calls",
    "json_object": "response_format json_object",
    "json_schema": "response_format json_schema, enforced while decoding",
    "images": "parts of type image_url with a data: URI",
    "reasoning_effort": "reasoning_effort",
    "token_prompts": "a prompt of token ids in /v1/completions",
    "suffix": "suffix in /v1/completions",
    "echo": "echo in /v1/completions",
    "top_k": "top_k",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repetition_penalty": "repetition_penalty",
    "repeat_penalty": "repeat_penalty, llama.cpp's name for it",
    "repeat_last_n": "repeat_last_n",
    "structured_outputs": "structured_outputs with a grammar (GBNF, Lark) or a regex (vLLM)",
    "regex": "regex (SGLang)",
    "chat_template_kwargs": "chat_template_kwargs, by which thinking is switched too",
    "continue_final_message": "continue_final_message: an assistant's message is continued",
    "reasoning": "thoughts of the answer in fields of their own",
    "past_reasoning": "reasoning_content in messages of the assistant",
    "truncate_prompt_tokens": "truncate_prompt_tokens: -1 in /v1/embeddings cuts long inputs",
    "add_special_tokens": "add_special_tokens in /v1/completions",
    "tokenize": "POST /tokenize and /detokenize (vLLM)",
}
"""Every feature with the fields it stands for."""

OPENAI: Final = frozenset(
    {
        "chat", "completions", "embeddings", "stream_options", "seed", "stop", "n", "presence_penalty",
        "frequency_penalty", "logit_bias", "logprobs", "tools", "tool_choice", "parallel_tool_calls",
        "json_object", "json_schema", "images",
    }
)  # fmt: skip
"""What OpenAI's own reference has and compatible servers commonly do."""

_LOCAL: Final = OPENAI | {
    "top_k", "min_p", "repetition_penalty", "token_prompts", "echo", "chat_template_kwargs",
    "continue_final_message", "max_completion_tokens",
}  # fmt: skip

VLLM: Final = frozenset(
    _LOCAL | {"structured_outputs", "truncate_prompt_tokens", "add_special_tokens", "tokenize"}
)
SGLANG: Final = frozenset(_LOCAL | {"regex"})
