"""The routes of OpenAI's wire, and vLLM's for tokens, over a loaded model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import jinja2

from .transformers_asked import Options, chat_options, text_options
from .transformers_embed import Embedding
from .transformers_generate import Generation, Said
from .transformers_http import Answer, Handler, Refused
from .transformers_model import Loaded, Order
from .transformers_turns import Turns

_THOUGHT = "<think>"


class Routes:
    """Handlers of one worker."""

    def __init__(self, order: Order, loaded: Loaded, turns: Turns) -> None:
        self._order = order
        self._loaded = loaded
        self._turns = turns

    def table(self) -> dict[tuple[str, str], Handler]:
        """All routes."""
        return {
            ("GET", "/health"): self._health,
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/completions"): self._complete,
            ("POST", "/v1/embeddings"): self._embed,
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/detokenize"): self._detokenize,
        }

    async def _health(self, body: dict[str, Any]) -> Answer:
        return {"status": "ok"}

    async def _models(self, body: dict[str, Any]) -> Answer:
        one = {"id": self._order.name, "object": "model", "max_model_len": self._loaded.context_length}
        return {"object": "list", "data": [one]}

    async def _chat(self, body: dict[str, Any]) -> Answer:
        options = chat_options(body)
        self._need("text", "chat")
        prompt = await self._rendered(body)
        ids = await asyncio.to_thread(self._loaded.encode, prompt, special=False)
        # A prompt that opens a thought leaves the answer without its opening tag: clients tell by it.
        opening = _THOUGHT if prompt.rstrip().endswith(_THOUGHT) else ""
        return self._stream(body, await self._generation(ids, options, opening=opening), chat=True)

    async def _complete(self, body: dict[str, Any]) -> Answer:
        options = text_options(body)
        self._need("text", "generate")
        prompt = body.get("prompt")
        if isinstance(prompt, str):
            special = body.get("add_special_tokens") is not False
            ids = await asyncio.to_thread(self._loaded.encode, prompt, special=special)
        else:
            ids = self._ids(prompt, "prompt")
        said = ""
        if body.get("echo"):
            said = prompt if isinstance(prompt, str) else self._loaded.decode(ids)
        return self._stream(body, await self._generation(ids, options, opening=said), chat=False)

    def _need(self, task: str, what: str) -> None:
        if self._order.task != task:
            raise Refused(400, f"this model cannot {what}", "model")

    async def _rendered(self, body: dict[str, Any]) -> str:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
            raise Refused(400, "'messages' must be a list of messages", "messages")
        args = body.get("chat_template_kwargs") or {}
        if not isinstance(args, dict):
            raise Refused(400, "'chat_template_kwargs' must be an object", "chat_template_kwargs")
        goes_on = body.get("continue_final_message") is True
        try:
            return await asyncio.to_thread(self._loaded.render, messages, goes_on=goes_on, args=args)
        except (jinja2.TemplateError, ValueError, TypeError) as error:
            raise Refused(400, f"the chat template refuses this: {error}", "messages") from None

    def _ids(self, value: Any, param: str) -> list[int]:
        known = len(self._loaded.tokenizer)
        if not isinstance(value, list) or not all(type(one) is int and 0 <= one < known for one in value):
            raise Refused(400, f"'{param}' must be text or token ids below {known}", param)
        return value

    async def _generation(self, ids: list[int], options: Options, *, opening: str) -> Generation:
        """Raises Refused where the prompt leaves no room, or the grammar is none."""
        longest = self._loaded.context_length
        if not ids:
            raise Refused(400, "the prompt is empty", "prompt")
        if len(ids) >= longest:
            text = f"This model's maximum context length is {longest} tokens. However, your request"
            raise Refused(400, f"{text} has {len(ids)} input tokens.", "messages")
        if any(token >= len(self._loaded.tokenizer) for token, _ in options.logit_bias):
            raise Refused(400, "'logit_bias' names a token that the model does not have", "logit_bias")
        if options.grammar is not None:
            try:
                await asyncio.to_thread(self._loaded.matcher, options.grammar)
            except (ImportError, ValueError) as error:
                raise Refused(400, f"the grammar cannot be used: {error}", "response_format") from None
        return Generation(self._loaded, ids, options, opening=opening)

    async def _stream(
        self, body: dict[str, Any], job: Generation, *, chat: bool
    ) -> AsyncGenerator[dict[str, Any], None]:
        kind = "chat.completion.chunk" if chat else "text_completion"
        head = {"id": "local", "object": kind, "created": 0, "model": self._order.name}
        async with aclosing(self._turns.run(job)) as pieces:
            async for said in pieces:
                yield {**head, "choices": [_choice(said, chat=chat)]}
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = {
                "prompt_tokens": job.prompt,
                "completion_tokens": job.written,
                "total_tokens": job.prompt + job.written,
                "prompt_tokens_details": {"cached_tokens": job.cached},
            }
            yield {**head, "choices": [], "usage": usage}

    async def _embed(self, body: dict[str, Any]) -> Answer:
        inputs = await asyncio.to_thread(self._inputs, body)
        rows: list[list[float]] = [[]] * len(inputs)
        async with aclosing(self._turns.run(Embedding(self._loaded, inputs))) as vectors:
            async for place, vector in vectors:
                rows[place] = vector
        data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]
        tokens = sum(map(len, inputs))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": self._order.name, "data": data, "usage": usage}

    def _inputs(self, body: dict[str, Any]) -> list[list[int]]:
        """Token ids of each input, cut to the context where that was asked for. Raises Refused."""
        loaded, given = self._loaded, body.get("input")
        many = given if isinstance(given, list) and not all(type(x) is int for x in given) else [given]
        cut = body.get("truncate_prompt_tokens") == -1
        out = []
        for one in many:
            if isinstance(one, str):
                ids = loaded.encode(loaded.pooling.text(one))
                if len(ids) > loaded.context_length and cut:
                    ids = loaded.encode(loaded.pooling.text(one), most=loaded.context_length)
            else:
                ids = self._ids(one, "input")
                ids = ids[: loaded.context_length] if cut else ids
            if not ids:
                raise Refused(400, "an input is empty", "input")
            if len(ids) > loaded.context_length:
                longest = f"This model's maximum context length is {loaded.context_length} tokens."
                raise Refused(400, f"{longest} However, your request has {len(ids)} input tokens.", "input")
            out.append(ids)
        return out

    async def _tokenize(self, body: dict[str, Any]) -> Answer:
        if "messages" in body:
            prompt = await self._rendered(body)
            ids = await asyncio.to_thread(self._loaded.encode, prompt, special=False)
        elif isinstance(body.get("prompt"), str):
            special = body.get("add_special_tokens") is not False
            ids = await asyncio.to_thread(self._loaded.encode, body["prompt"], special=special)
        else:
            raise Refused(400, "'prompt' must be a text", "prompt")
        return {"tokens": ids, "count": len(ids), "max_model_len": self._loaded.context_length}

    async def _detokenize(self, body: dict[str, Any]) -> Answer:
        ids = self._ids(body.get("tokens"), "tokens")
        return {"prompt": str(self._loaded.tokenizer.decode(ids, clean_up_tokenization_spaces=False))}


def _choice(said: Said, *, chat: bool) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "finish_reason": said.reason or None, "stop_reason": said.stop}
    if chat:
        return {
            **choice,
            "delta": {"content": said.text} if said.text else {},
            "logprobs": {"content": said.logprobs} if said.logprobs else None,
        }
    logprobs = None
    if said.logprobs:
        logprobs = {
            "tokens": [one["token"] for one in said.logprobs],
            "token_logprobs": [one["logprob"] for one in said.logprobs],
            "top_logprobs": [
                {o["token"]: o["logprob"] for o in one["top_logprobs"]} for one in said.logprobs
            ],
        }
    return {**choice, "text": said.text, "logprobs": logprobs}
