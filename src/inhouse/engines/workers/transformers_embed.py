"""Vectors of texts, computed in turns of a few texts."""

from __future__ import annotations

import torch

from .transformers_model import Loaded

BATCH = 8
"""Texts of one turn."""


class Embedding:
    """A job (see ``transformers_turns``); tells (place, vector) of each input, of length 1."""

    def __init__(self, loaded: Loaded, inputs: list[list[int]]) -> None:
        self._loaded = loaded
        # Texts of one length together need no padding, which others would compute along.
        self._left = sorted(range(len(inputs)), key=lambda place: len(inputs[place]))
        self._inputs = inputs

    def turn(self) -> tuple[list[tuple[int, list[float]]], bool]:
        """A few texts of about the same length."""
        places, self._left = self._left[:BATCH], self._left[BATCH:]
        with torch.inference_mode():
            vectors = self._vectors([self._inputs[place] for place in places])
        return list(zip(places, vectors.tolist(), strict=True)), not self._left

    def end(self) -> None:
        """Nothing is held."""

    def _vectors(self, rows: list[list[int]]) -> torch.Tensor:
        loaded = self._loaded
        width = max(map(len, rows))
        pad = loaded.tokenizer.pad_token_id or 0
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=loaded.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=loaded.device)
        model = loaded.model if loaded.order.task != "text" else loaded.model.base_model
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        pooled = torch.cat([pool(mode, hidden, mask.float()) for mode in loaded.pooling.modes], -1)
        return torch.nn.functional.normalize(pooled, dim=-1).cpu()


def pool(mode: str, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """One vector for each row. ``hidden``: rows x tokens x width, ``mask``: rows x tokens, 1 for a token.
    Rows are padded at their ends."""
    weights = mask.unsqueeze(-1)
    match mode:
        case "cls":
            return hidden[:, 0]
        case "lasttoken":
            last = mask.sum(1).long() - 1
            return hidden[torch.arange(len(hidden), device=hidden.device), last]
        case "max":
            return hidden.masked_fill(weights == 0, -torch.inf).max(1).values
        case "weightedmean":
            weights = weights * torch.arange(1, hidden.shape[1] + 1, device=hidden.device)[None, :, None]
    total = (hidden * weights).sum(1)
    count = weights.sum(1).clamp_min(1e-9)
    return total / count.sqrt() if mode == "mean_sqrt_len" else total / count
