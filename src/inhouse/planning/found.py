"""What a plan is made for: a stored model, one of the catalogue that is not here yet, or a file. Pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from ..core.errors import BadRequest, Unsupported
from ..core.models import Card, Footprint
from ..machine.shape import Shape, Tensor, shape_of, shape_of_card
from . import mixes
from .known import find, nearest
from .plan import Subject

Source = Literal["stored", "catalogue", "file"]


@dataclass(frozen=True, slots=True)
class Found:
    """``download`` bytes are to be fetched first. ``tensors`` may be empty. ``unknown``: what could not be
    told, in sentences."""

    card: Card
    tensors: tuple[Tensor, ...]
    source: Source
    download: int = 0
    unknown: tuple[str, ...] = ()

    @property
    def shape(self) -> Shape:
        if not self.tensors:
            return shape_of_card(self.card)
        return shape_of(
            self.card.metadata,
            self.tensors,
            vocabulary=self.card.vocabulary,
            generates="completion" in self.card.capabilities,
        )

    @property
    def facts(self) -> mixes.Facts:
        """What the rules of quantising ask."""
        arch = self.card.metadata.get("general.architecture", "")

        def number(key: str, default: int) -> int:
            value = self.card.metadata.get(f"{arch}.{key}")
            values = [n for n in value if isinstance(n, int)] if isinstance(value, list) else [value]
            return max((n for n in values if isinstance(n, int) and n > 0), default=default)

        heads = number("attention.head_count", 1)
        groups = heads // max(1, number("attention.head_count_kv", heads))
        tied = not any(tensor.name == "output.weight" for tensor in self.tensors)
        return mixes.Facts(groups, number("expert_count", 0), number("block_count", 1), tied)

    @property
    def subject(self) -> Subject:
        """What the formulas ask."""
        card = self.card
        return Subject(
            str(card.name), self.shape, card.parameters, card.size, card.quantization, card.context_length
        )


def check_stored(card: Card) -> None:
    """Raise Unsupported for what no formula is known for."""
    if not card.files:
        raise Unsupported(f"'{card.name}' is built into its engine: there is nothing to plan.", param="model")
    if card.format != "gguf":
        raise Unsupported(
            "Plans are made for GGUF models; how much others take depends on their engine.",
            hint=f"Convert it first: inhouse convert {card.name} NEW-NAME",
            param="model",
        )


def supposed(card: Card, download: int) -> Found:
    """A model of the catalogue: its header is in nobody's hands yet, but the shapes of many are known.
    ``card`` has what the catalogue says of it."""
    known = find(card.parameters)
    kind = card.quantization.removeprefix("UD-")
    if known is None or kind not in mixes.BASES:
        unknown = (
            "Its KV cache and buffers are not known before it is here, so the plan counts its weights alone."
        )
        return Found(card, (), "catalogue", download, (unknown,))
    arch = known.metadata["general.architecture"]
    card = dataclasses.replace(
        card,
        metadata=known.metadata,
        family=arch,
        embedding_length=known.metadata[f"{arch}.embedding_length"],
        vocabulary=known.vocabulary,
    )
    return Found(card, nearest(known, kind, card.size), "catalogue", download)


def requantised(found: Found, kind: str) -> Found:
    """The same model in another quantisation. Raises BadRequest, Unsupported where its size cannot be
    told."""
    name = kind.upper()
    if name == found.card.quantization.upper():
        return found
    if name not in mixes.BASES:
        raise BadRequest(
            "The size in this quantisation cannot be told beforehand.",
            hint=f"Known are: {', '.join(mixes.BASES)}",
            param="quant",
        )
    if not found.tensors:
        raise Unsupported("The model's tensors are not known before it is here.", param="quant")
    tensors = tuple(mixes.quantised(found.tensors, name, found.facts))
    size = sum(tensor.size for tensor in tensors)
    footprint = Footprint(size, found.card.footprint.kv_per_token)
    card = dataclasses.replace(found.card, quantization=name, size=size, footprint=footprint)
    return dataclasses.replace(found, card=card, tensors=tensors)


__all__ = ["Found", "Source", "check_stored", "requantised", "supposed"]
