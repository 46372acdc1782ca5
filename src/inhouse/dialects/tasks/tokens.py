"""/tokenize, /detokenize and /apply-template.

Sources: llama.cpp's server (``content``, ``with_pieces``) and vLLM (``prompt`` or ``messages``,
``return_token_strs``). How a conversation is read is the matter of a chat's dialect, so its decoder is
handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...core.errors import EngineError, Unsupported
from ...core.events import Event, Finished, Rendered, TextDelta, Tokens
from ...core.json import parse
from ...core.requests import Chat, Detokenize, Tokenize
from ..codec import Decoded, rendering
from ..fields import INT32_MAX, Fields, check_whole, missing, wrong_value
from .answer import OneBody

MAX_TEXT = 4_000_000
MAX_TOKENS = 1_000_000

ReadChat = Callable[[bytes], Decoded]
_OURS = frozenset(
    {
        "chat_template",
        "add_special",
        "add_special_tokens",
        "parse_special",
        "with_pieces",
        "return_token_strs",
    }
)


def decode_tokenize(body: bytes, *, read_chat: ReadChat) -> Decoded:
    """POST /tokenize and /v1/tokenize. Raises BadRequest."""
    fields = Fields(parse(body))
    model = fields.required_text("model")
    pieces, strings = fields.flag("with_pieces", False), fields.flag("return_token_strs", False)
    answer = TokensAnswer(pieces=pieces, strings=strings)
    given = [name for name in ("content", "prompt", "messages") if fields.has(name)]
    if not given:
        missing("content", "a text as 'content' or 'prompt', or 'messages'")
    if len(given) > 1:
        wrong_value(given[1], f"either it or '{given[0]}'")
    if given == ["messages"]:
        for name in ("add_special", "add_special_tokens"):
            fields.refuse(name, False, why="The template decides what stands around a conversation.")
        fields.refuse("parse_special", True, why="The control tokens of a template are always read.")
        chat, noted = _chat(fields, body, read_chat)
        return Decoded(rendering(chat, pieces=pieces or strings), answer, noted)
    # llama.cpp adds nothing to a 'content' unless told to, vLLM does to a 'prompt'.
    special = _agreed(fields, "add_special", "add_special_tokens")
    return Decoded(
        Tokenize(
            model=model,
            keep_alive=fields.duration("keep_alive"),
            text=fields.text(given[0], longest=MAX_TEXT) or "",
            special=given == ["prompt"] if special is None else special,
            control=fields.flag("parse_special", True),
        ),
        answer,
        fields.noted(),
    )


def _agreed(fields: Fields, *names: str) -> bool | None:
    """What two names for one thing say. Raises BadRequest when they differ."""
    told = {flag for name in names if (flag := fields.flag(name)) is not None}
    if len(told) > 1:
        wrong_value(names[-1], f"the same as '{names[0]}'")
    return told.pop() if told else None


def _chat(fields: Fields, body: bytes, read_chat: ReadChat) -> tuple[Chat, tuple[str, ...]]:
    """The conversation, and what of it has no effect."""
    fields.refuse("chat_template", why="The model's own template is used.")
    decoded = read_chat(body)
    chat = decoded.request
    if not isinstance(chat, Chat):
        raise TypeError("read_chat must decode conversations")
    return chat, tuple(name for name in decoded.noted if name not in _OURS)


def decode_detokenize(body: bytes) -> Decoded:
    """POST /detokenize and /v1/detokenize. Raises BadRequest."""
    fields = Fields(parse(body))
    model = fields.required_text("model")
    items = fields.items("tokens", MAX_TOKENS)
    if items is None:
        missing("tokens", "an array of token ids")
    tokens = tuple(check_whole(f"tokens[{i}]", item, 0, INT32_MAX) for i, item in enumerate(items))
    request = Detokenize(model=model, keep_alive=fields.duration("keep_alive"), tokens=tokens)
    return Decoded(request, TextAnswer(), fields.noted())


def decode_apply_template(body: bytes, *, read_chat: ReadChat) -> Decoded:
    """POST /apply-template: a chat's body; nothing is generated. Raises BadRequest."""
    fields = Fields(parse(body))
    chat, noted = _chat(fields, body, read_chat)
    return Decoded(rendering(chat), PromptAnswer(), noted)


class TokensAnswer(OneBody):
    """Token ids; ``pieces``: as llama.cpp's objects with the text of each, or the bytes of what is no text
    by itself; ``strings``: the texts in a list beside the ids."""

    def __init__(self, *, pieces: bool, strings: bool) -> None:
        super().__init__()
        self.options = (pieces, strings)
        self._tokens: Tokens | None = None

    def _take(self, event: Event) -> None:
        if isinstance(event, Tokens):
            self._tokens = event

    def _body(self, finished: Finished) -> dict[str, Any]:
        tokens = self._tokens
        pieces, strings = self.options
        if tokens is not None and tokens.ids and not tokens.pieces and (pieces or strings):
            raise Unsupported(
                "The engine that runs this model does not tell the texts of its tokens.",
                hint="Ask for the ids alone.",
                param="with_pieces" if pieces else "return_token_strs",
            )
        if tokens is None or ((pieces or strings) and len(tokens.pieces) != len(tokens.ids)):
            raise EngineError("The engine left out tokens.", hint="Try again.")
        listed: list[Any] = list(tokens.ids)
        if pieces:
            listed = [
                {"id": token, "piece": _piece(piece)}
                for token, piece in zip(tokens.ids, tokens.pieces, strict=True)
            ]
        return {
            "tokens": listed,
            "count": len(tokens.ids),
            "max_model_len": tokens.context_length,
            "token_strs": [piece.decode("utf-8", "replace") for piece in tokens.pieces] if strings else None,
            **self._warnings(),
        }


def _piece(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


class TextAnswer(OneBody):
    """The text as llama.cpp (``content``) and vLLM (``prompt``) call it."""

    def __init__(self) -> None:
        super().__init__()
        self._texts: list[str] = []

    def _take(self, event: Event) -> None:
        if isinstance(event, TextDelta):
            self._texts.append(event.text)

    def _body(self, finished: Finished) -> dict[str, Any]:
        text = "".join(self._texts)
        return {"content": text, "prompt": text, **self._warnings()}


class PromptAnswer(OneBody):
    """The prompt, and how many tokens that is."""

    def __init__(self) -> None:
        super().__init__()
        self._prompt: str | None = None

    def _take(self, event: Event) -> None:
        if isinstance(event, Rendered):
            self._prompt = event.prompt

    def _body(self, finished: Finished) -> dict[str, Any]:
        if self._prompt is None:
            raise EngineError("The engine left out the prompt.", hint="Try again.")
        return {"prompt": self._prompt, "count": finished.usage.prompt_tokens, **self._warnings()}
