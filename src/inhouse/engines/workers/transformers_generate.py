"""One answer, computed in turns: the prompt in pieces, then token by token."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from .transformers_asked import Options
from .transformers_draw import Draw, likeliest
from .transformers_model import Loaded
from .transformers_text import Writing

PIECE = 256
"""Prompt tokens of one turn: others wait, and a cancel, no longer than these take."""


@dataclass
class Said:
    """A piece of the answer. ``reason`` at its end (stop, length), with the stop string if one was hit."""

    text: str = ""
    logprobs: list[Any] = field(default_factory=list)
    reason: str = ""
    stop: str | None = None


class Generation:
    """A job (see ``transformers_turns``); tells ``Said``. ``opening`` is shown before anything else."""

    def __init__(self, loaded: Loaded, ids: list[int], options: Options, *, opening: str = "") -> None:
        self.loaded = loaded
        self.ids = list(ids)
        self.prompt = len(ids)
        self.cached = 0
        self.written = 0
        self._options = options
        room = loaded.context_length - len(ids)
        self._left = room if options.most is None else min(room, options.most)
        self._writing = Writing(loaded.decode, options.stop)
        self._opening = opening
        self._cache: Any = None
        self._known = 0
        self._draw: Draw | None = None

    def turn(self) -> tuple[list[Said], bool]:
        """A piece of the prompt, or one token."""
        with torch.inference_mode():
            if self._draw is None:
                self._begin()
            until = min(len(self.ids), self._known + PIECE)
            try:
                scores = self._forward(self.ids[self._known : until])
            except BaseException:
                self._cache = None  # some layers may have read what others have not: of use to nobody
                raise
            self._known = until
            if until < len(self.ids):
                return [], False
            return self._next(scores)

    def end(self) -> None:
        """The cache may serve the next prompt."""
        if self._cache is not None and self.written:
            self.loaded.keep(self.ids, self._cache)
        self._cache = None

    def _begin(self) -> None:
        options, loaded = self._options, self.loaded
        matcher = loaded.matcher(options.grammar) if options.grammar else None
        self._draw = Draw(options, self.ids, matcher)
        self._cache, self.cached = loaded.cache(self.ids, reuse=not options.repeatable)
        self._known = self.cached

    def _forward(self, ids: list[int]) -> torch.Tensor:
        """Scores behind the last of ``ids``, in float32 on the CPU."""
        tensor = torch.tensor([ids], device=self.loaded.device)
        out = self.loaded.model(
            input_ids=tensor, past_key_values=self._cache, use_cache=True, logits_to_keep=1
        )
        scores: torch.Tensor = out.logits[0, -1].float().cpu()
        return scores

    def _next(self, scores: torch.Tensor) -> tuple[list[Said], bool]:
        draw, loaded = self._draw, self.loaded
        assert draw is not None  # noqa: S101  # made in the first turn
        token = draw.token(scores)
        self.written += 1
        self._left -= 1
        out = [Said(self._opening)] if self._opening else []
        self._opening = ""
        if token in loaded.ends:
            return [*out, *self._end("stop")], True
        self.ids.append(token)
        note = None
        if self._options.top is not None:
            note = likeliest(scores, token, self._options.top, lambda number: loaded.decode([number]))
        text, notes = self._writing.add(token, note)
        if text or notes:
            out.append(Said(text, notes))
        if self._writing.stopped is not None or draw.over:
            return [*out, *self._end("stop")], True
        if self._left <= 0:
            return [*out, *self._end("length")], True
        return out, False

    def _end(self, reason: str) -> list[Said]:
        text, notes = self._writing.end()
        rest = [Said(text, notes)] if text or notes else []
        stopped = self._writing.stopped
        return [*rest, Said(reason="stop" if stopped is not None else reason, stop=stopped)]
