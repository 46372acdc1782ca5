"""Drawing a token from a model's scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from .transformers_asked import Options


class Draw:
    """One answer's dice. ``prompt`` are token ids before the answer, ``matcher`` llguidance's or None."""

    def __init__(self, options: Options, prompt: list[int], matcher: Any = None) -> None:
        self._options = options
        self._seen = set(prompt) if options.repetition_penalty != 1 else set()
        self._made: Counter[int] = Counter()
        self._matcher = matcher
        self._dice = torch.Generator()
        if options.seed is None:
            self._dice.seed()
        else:
            self._dice.manual_seed(options.seed)

    @property
    def over(self) -> bool:
        """The grammar allows nothing more."""
        return self._matcher is not None and bool(self._matcher.is_stopped())

    def token(self, scores: torch.Tensor) -> int:
        """The next token's id. ``scores``: logits of the whole vocabulary, in float32 on the CPU. Raises
        RuntimeError where they are no numbers: the likeliest of those would be some token nevertheless."""
        options = self._options
        if bool(scores.isnan().any()):
            raise RuntimeError("the model computed no numbers")
        scores = self._held(self._penalised(scores.clone()))
        if options.temperature == 0:
            token = int(scores.argmax())
        else:
            chances = torch.softmax(self._cut(scores / options.temperature), -1)
            token = int(torch.multinomial(chances, 1, generator=self._dice))
        self._made[token] += 1
        if self._matcher is not None and not self._matcher.consume_token(token):
            raise RuntimeError("the grammar does not allow a token that it allowed")
        return token

    def _penalised(self, scores: torch.Tensor) -> torch.Tensor:
        options = self._options
        if options.repetition_penalty != 1:
            ids = torch.tensor(sorted(self._seen | self._made.keys()), dtype=torch.long)
            old, by = scores[ids], options.repetition_penalty
            scores[ids] = torch.where(old > 0, old / by, old * by)
        if self._made and (options.presence_penalty or options.frequency_penalty):
            ids = torch.tensor(list(self._made), dtype=torch.long)
            counts = torch.tensor(list(self._made.values()), dtype=scores.dtype)
            scores[ids] -= options.presence_penalty + options.frequency_penalty * counts
        for token, bias in options.logit_bias:
            if token < len(scores):
                scores[token] += bias
        return scores

    def _held(self, scores: torch.Tensor) -> torch.Tensor:
        """Nothing but what the grammar allows next."""
        if self._matcher is None:
            return scores
        bits = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        allowed = (bits[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        allowed = allowed.flatten()[: len(scores)].bool()
        masked = torch.full_like(scores, -torch.inf)
        masked[: len(allowed)] = torch.where(allowed, scores[: len(allowed)], masked[: len(allowed)])
        return masked

    def _cut(self, scores: torch.Tensor) -> torch.Tensor:
        """Without the unlikely: top_k, then typical_p, top_p and min_p, as llama.cpp orders them."""
        options = self._options
        if 0 < options.top_k < len(scores):
            least = torch.topk(scores, options.top_k).values[-1]
            scores = scores.masked_fill(scores < least, -torch.inf)
        if options.typical_p < 1:
            chances = torch.softmax(scores, -1)
            logs = torch.log(chances.clamp_min(1e-38))
            strange = (-(chances * logs).sum() + logs).abs()
            scores = _nucleus(scores, chances, options.typical_p, torch.argsort(strange))
        if options.top_p < 1:
            chances = torch.softmax(scores, -1)
            scores = _nucleus(scores, chances, options.top_p, torch.argsort(chances, descending=True))
        if options.min_p > 0:
            chances = torch.softmax(scores, -1)
            scores = scores.masked_fill(chances < options.min_p * chances.max(), -torch.inf)
        return scores


def _nucleus(scores: torch.Tensor, chances: torch.Tensor, most: float, order: torch.Tensor) -> torch.Tensor:
    """Only the first in ``order`` whose chances together reach ``most``; at least one."""
    before = torch.cumsum(chances[order], -1) - chances[order]
    keep = before < most
    keep[0] = True
    return scores.masked_fill(~torch.zeros_like(keep).scatter(0, order, keep), -torch.inf)


def likeliest(scores: torch.Tensor, token: int, top: int, text: Callable[[int], str]) -> dict[str, Any]:
    """The log-probability of a token and of the ``top`` likeliest, as OpenAI's chat has them. They are the
    model's own, before temperature and penalties."""
    logs = torch.log_softmax(scores, -1)

    def one(number: int) -> dict[str, Any]:
        shown = text(number)
        return {
            "token": shown,
            "logprob": float(logs[number]),
            "bytes": list(shown.encode("utf-8", "replace")),
        }

    others = torch.topk(logs, top).indices.tolist() if top else []
    return {**one(token), "top_logprobs": [one(number) for number in others]}
