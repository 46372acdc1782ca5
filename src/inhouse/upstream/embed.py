"""Embeddings on a worker: in batches, in order, of length 1."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from ..core.errors import BadRequest, ContextExceeded
from ..core.events import Event, Finished, Started, Vector
from ..core.models import Card
from ..core.requests import Embed, LoadOptions
from ..core.usage import Timings, Usage
from ..dialects.llamaserver import check_ids, decode_embed, encode_embed, normalised
from ..dialects.llamaserver.embed import PATH, spelled
from .fit import cut_ids
from .http import Link
from .limits import own_limit

BATCH = 32
"""Inputs of one call: enough to fill the engine's batches, few enough to leave soon."""
AROUND = 8
"""More tokens than any model puts around a text."""

Input = str | list[int]


async def run(link: Link, card: Card, request: Embed) -> AsyncGenerator[Event, None]:
    """One Vector for each input. Raises ContextExceeded for an input that is too long and may not be cut."""
    begun = time.monotonic()
    _check_dimensions(request, card.embedding_length)
    inputs = await _fitted(link, card, request)
    tokens = index = 0
    async with aclosing(batches(link, inputs, param="input")) as answers:
        async for vectors, used in answers:
            if not index:
                yield Started()
            tokens += used
            for values in vectors:
                _check_dimensions(request, len(values))
                yield Vector(index, normalised(values, request.dimensions))
                index += 1
    yield Finished(Usage(tokens), Timings(prefill=time.monotonic() - begun))


async def batches(
    link: Link, inputs: Sequence[Input], *, param: str
) -> AsyncGenerator[tuple[list[list[float]], int], None]:
    """The raw vectors of some inputs at a time, in order, with the tokens that those had.

    Leaving between two of them, or amid one, ends the work.
    """
    for start in range(0, len(inputs), BATCH):
        batch = inputs[start : start + BATCH]
        body = await link.call(PATH, encode_embed(batch), param=param)
        yield decode_embed(body, len(batch))


def _check_dimensions(request: Embed, length: int) -> None:
    if request.dimensions is not None and length and not 0 < request.dimensions <= length:
        raise BadRequest(
            f"The model's embeddings have {length} dimensions, {request.dimensions} were asked for.",
            hint="Ask for fewer dimensions.",
            param="dimensions",
        )


def longest_input(link: Link, card: Card, load: LoadOptions) -> int:
    """Tokens that an input may have, 0 if unknown; a generating model's engine keeps one for an answer."""
    most = link.launch.context_length
    if most and "completion" in card.capabilities:
        most -= 1
    return min(most, own_limit(link.launch, load) or most)


async def _fitted(link: Link, card: Card, request: Embed) -> list[Input]:
    """All inputs, checked before the first is computed; those that are too long are cut where allowed."""
    limit = longest_input(link, card, request.load)
    several = len(request.inputs) > 1
    out: list[Input] = []
    for i, one in enumerate(request.inputs):
        param = f"input[{i}]" if several else "input"
        out.append(await _fit(link, card, one, limit=limit if request.truncate else -limit, param=param))
    return out


async def _fit(link: Link, card: Card, text: str | tuple[int, ...], *, limit: int, param: str) -> Input:
    """An input that fits: as it is, or cut at its end; a negative ``limit`` forbids the cutting.

    No text has more tokens than bytes.
    """
    most = abs(limit)
    if isinstance(text, str):
        text = spelled(text, card)
        if not most or len(text.encode()) + AROUND <= most:
            return text
        ids = await link.tokenize(text)
        if len(ids) <= most:
            return text
        bare = await link.tokenize(text, special=False)
    else:
        check_ids(text, card, param)
        ids = bare = list(text)
        if not most or len(ids) <= most:
            return ids
    kept = cut_ids(ids[::-1], bare[::-1], most)[::-1] if limit > 0 else []
    if not kept:
        raise ContextExceeded(len(ids), most, param=param)
    return kept
