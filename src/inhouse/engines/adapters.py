"""Models that differ in their LoRA adapters only share one worker. Pure.

A worker of llama.cpp holds any number of adapters; each request says how much of each it wants. So what is
loaded is the base with all adapters that are known for its weights, each at scale 0, and a model with an
adapter is a request to that worker. Embeddings cannot say it: for them a model has a worker of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ..core.errors import BadRequest, InhouseError, Unsupported
from ..core.models import Card, CardFile
from ..core.requests import Common, Embed, Rerank

ROOM: Final = 1.0
"""How large all adapters of a worker may be, measured by its weights; those that came last are loaded
with their models alone."""


def host(card: Card, cards: Iterable[Card]) -> Card:
    """What a worker for ``card`` is started with: the base and all adapters of its weights among
    ``cards``; the card itself where there are none, or no room for its own."""
    known = [one for one in (*cards, card) if one.weights_digest == card.weights_digest and _ours(one)]
    adapters = _fitting(known, card)
    own = {file.digest for file in card.of_role("adapter")}
    if not _ours(card) or not adapters or not own <= {file.digest for file in adapters}:
        return card
    base = _base([one for one in known if _kind(one) == _kind(card)])
    files = tuple(file for file in base.files if file.role != "adapter") + adapters
    facts = [repr(_kind(base)), *(file.digest for file in adapters)]
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()
    return dataclasses.replace(base, digest=digest, files=files)


def target(request: Common, card: Card, cards: Iterable[Card]) -> Card:
    """The card that the fleet is asked for."""
    if isinstance(request, Embed | Rerank) and card.of_role("adapter"):
        return card
    return host(card, cards)


def attached(request: Common, card: Card, find: Callable[[str], Card]) -> tuple[tuple[str, float], ...]:
    """Digests and scales of a request's adapters: the model's own, and those of the models that it names.

    Raises BadRequest for a model that has none or whose adapters are for other weights, Unsupported where
    none can be attached, and what ``find`` raises; all name the field.
    """
    scales = {file.digest: file.scale for file in card.of_role("adapter")}
    for place, (name, scale) in enumerate(request.adapters):
        param = f"adapters[{place}].name"
        if isinstance(request, Embed | Rerank) or not _ours(card):
            raise Unsupported(
                "Adapters can be attached to what GGUF models write only.",
                hint="Make a model with the adapter instead: inhouse create.",
                param="adapters",
            )
        other = _found(find, name, param)
        files = other.of_role("adapter")
        if not files:
            raise BadRequest(
                "The model named for its adapter has none.",
                hint="Make one with ADAPTER in its Modelfile: inhouse create.",
                param=param,
            )
        if other.weights_digest != card.weights_digest:
            raise BadRequest(
                "The adapter is for other weights than this model's.",
                hint=f"Use it with a model of the same weights as {other.name}.",
                param=param,
            )
        scales |= {file.digest: file.scale * scale for file in files}
    return tuple(scales.items())


def _found(find: Callable[[str], Card], name: str, param: str) -> Card:
    try:
        return find(name)
    except InhouseError as error:
        error.param = param  # it is not the request's model that is at fault
        raise


def _ours(card: Card) -> bool:
    return card.format == "gguf" and bool(card.files)


def _kind(card: Card) -> tuple[Any, ...]:
    """What a worker is started with beside adapters: models of one kind can share it."""
    parts = tuple((file.role, file.digest) for file in card.files if file.role != "adapter")
    tuning = dataclasses.replace(card.tuning, keep_alive=None)
    template = card.template if card.own_template else None
    generates = card.capabilities & {"completion", "embedding", "rerank"}
    return parts, tuning, template, sorted(generates), card.defaults.get("draft_num_predict")


def _base(kin: Sequence[Card]) -> Card:
    """The one that lends the worker its name: without adapters if there is such a model, the oldest."""
    return min(kin, key=lambda one: (bool(one.of_role("adapter")), one.modified_at, one.name))


def _fitting(known: Iterable[Card], card: Card) -> tuple[CardFile, ...]:
    """All different adapters at scale 0, as they came, as long as there is room; in order of digest."""
    kept: dict[str, CardFile] = {}
    room = ROOM * card.footprint.weights
    for one in sorted(known, key=lambda one: (one.modified_at, one.name)):
        for file in one.of_role("adapter"):
            if file.digest not in kept and file.size <= room:
                kept[file.digest] = dataclasses.replace(file, scale=0.0)
                room -= file.size
    return tuple(kept[digest] for digest in sorted(kept))
