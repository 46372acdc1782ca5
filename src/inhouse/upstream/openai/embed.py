"""Embeddings: in batches, in order, of length 1."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator

from ...core.errors import BadRequest
from ...core.events import Event, Finished, Started, Vector
from ...core.models import Card
from ...core.requests import Embed
from ...core.usage import Timings, Usage
from ...dialects.llamaserver.embed import normalised
from ...dialects.openai.client import Service, decode_embed, encode_embed
from ...dialects.openai.client.embed import EMBED
from ..embed import BATCH
from .link import OpenAILink


async def run(link: OpenAILink, card: Card, service: Service, request: Embed) -> AsyncGenerator[Event, None]:
    """One Vector for each input. Raises ContextExceeded for one that is too long and was not cut."""
    begun = time.monotonic()
    _check(request, card.embedding_length)
    tokens = 0
    for start in range(0, len(request.inputs), BATCH):
        batch = request.inputs[start : start + BATCH]
        body = encode_embed(batch, service, truncate=request.truncate)
        vectors, used = decode_embed(await link.call(EMBED, body, param="input"), len(batch))
        if not start:
            yield Started()
        tokens += used
        for place, values in enumerate(vectors):
            _check(request, len(values))
            yield Vector(start + place, normalised(values, request.dimensions))
    yield Finished(Usage(tokens), Timings(prefill=time.monotonic() - begun))


def _check(request: Embed, length: int) -> None:
    if request.dimensions is not None and length and not 0 < request.dimensions <= length:
        raise BadRequest(
            f"The model's embeddings have {length} dimensions, {request.dimensions} were asked for.",
            hint="Ask for fewer dimensions.",
            param="dimensions",
        )
