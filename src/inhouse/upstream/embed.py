"""Embeddings on a worker: in batches, in order, of length 1."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator

from ..core.errors import BadRequest, ContextExceeded
from ..core.events import Event, Finished, Started, Vector
from ..core.models import Card
from ..core.requests import Embed
from ..core.usage import Timings, Usage
from ..dialects.llamaserver import check_ids, decode_embed, encode_embed, normalised
from ..dialects.llamaserver.embed import PATH
from .fit import cut_ids
from .http import Link
from .limits import own_limit

BATCH = 32
"""Inputs of one call: enough to fill the engine's batches, few enough to leave soon."""
_AROUND = 8
"""More tokens than any model puts around a text."""


async def run(link: Link, card: Card, request: Embed) -> AsyncGenerator[Event, None]:
    """One Vector for each input. Raises ContextExceeded for an input that is too long and may not be cut."""
    begun = time.monotonic()
    _check_dimensions(request, card.embedding_length)
    inputs = [await _fitted(link, card, request, text) for text in request.inputs]
    tokens = 0
    for start in range(0, len(inputs), BATCH):
        batch = inputs[start : start + BATCH]
        body = await link.call(PATH, encode_embed(batch), param="input")
        if not start:
            yield Started()
        vectors, used = decode_embed(body, len(batch))
        tokens += used
        for i, values in enumerate(vectors):
            _check_dimensions(request, len(values))
            yield Vector(start + i, normalised(values, request.dimensions))
    yield Finished(Usage(tokens), Timings(prefill=time.monotonic() - begun))


def _check_dimensions(request: Embed, length: int) -> None:
    if request.dimensions is not None and length and not 0 < request.dimensions <= length:
        raise BadRequest(
            f"The model's embeddings have {length} dimensions, {request.dimensions} were asked for.",
            hint="Ask for fewer dimensions.",
            param="dimensions",
        )


def _limit(link: Link, card: Card, request: Embed) -> int:
    """Tokens that an input may have; a generating model's engine keeps one for an answer."""
    most = link.launch.context_length
    if most and "completion" in card.capabilities:
        most -= 1
    return min(most, own_limit(link.launch, request.load) or most)


async def _fitted(link: Link, card: Card, request: Embed, text: str | tuple[int, ...]) -> str | list[int]:
    """An input that fits: as it is, or cut at its end. No text has more tokens than bytes."""
    limit = _limit(link, card, request)
    if isinstance(text, str):
        if not limit or len(text.encode()) + _AROUND <= limit:
            return text
        ids = await link.tokenize(text)
        if len(ids) <= limit:
            return text
        bare = await link.tokenize(text, special=False)
    else:
        check_ids(text, card, "input")
        ids = bare = list(text)
        if not limit or len(ids) <= limit:
            return ids
    kept = cut_ids(ids[::-1], bare[::-1], limit)[::-1] if request.truncate else []
    if not kept:
        raise ContextExceeded(len(ids), limit, param="input")
    return kept
