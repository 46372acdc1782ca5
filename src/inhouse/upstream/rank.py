"""How well texts fit together, on a worker: by a reranking model's head, or as cosines of vectors."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import groupby

from ..core.errors import ContextExceeded
from ..core.events import Event, Finished, Ranked, Started
from ..core.models import Card
from ..core.requests import Rerank
from ..core.usage import Timings, Usage
from ..dialects.llamaserver import normalised
from ..dialects.llamaserver.embed import spelled
from ..dialects.llamaserver.rank import AROUND, PATH, TEMPLATE, decode_rank, encode_rank, relevance
from .embed import BATCH, batches, longest_input
from .http import Link


async def run(link: Link, card: Card, request: Rerank) -> AsyncGenerator[Event, None]:
    """One Ranked for each pair, as they are computed.

    Raises ContextExceeded, naming the text, for a pair that is too long and may not be cut.
    """
    begun = time.monotonic()
    pairs = tuple((spelled(query, card), spelled(document, card)) for query, document in request.pairs)
    request = dataclasses.replace(request, pairs=pairs)
    work = (_Crossed if "rerank" in card.capabilities else _Compared)(link, card, request)
    await work.prepare()
    started = False
    async with aclosing(work.ranks()) as ranks:
        async for rank in ranks:
            if not started:
                started = True
                yield Started()
            yield rank
    yield Finished(Usage(work.tokens), Timings(prefill=time.monotonic() - begun))


@dataclass(slots=True)
class _Work:
    """The pairs of a request as they will be sent: nothing too long is left among them."""

    link: Link
    card: Card
    request: Rerank
    pairs: list[tuple[str, str]] = field(default_factory=list)
    tokens: int = 0

    async def prepare(self) -> None:
        """Check and cut all pairs before the first is computed. Raises ContextExceeded."""
        raise NotImplementedError

    def ranks(self) -> AsyncGenerator[Ranked, None]:
        """Compute the pairs; ``tokens`` counts along."""
        raise NotImplementedError

    def query_param(self, i: int) -> str:
        """The field that the query of a pair came in; one query of all has no number."""
        name = self.request.params[0]
        return name if len({query for query, _ in self.request.pairs}) == 1 else f"{name}[{i}]"

    async def fitted(self, i: int, *, room: int, beside: int, special: bool) -> str:
        """The document of a pair in at most ``room`` tokens, or as many as the request wants.

        ``beside`` tokens stand beside it, ``special`` counts the model's marks around it too. No text
        has more tokens than bytes.
        """
        request, document = self.request, self.request.pairs[i][1]
        marks = AROUND if special else 0
        if len(document.encode()) + marks <= min(room, request.longest or room):
            return document
        used = len(await self.link.tokenize(document, special=special, control=False))
        wanted = used if request.longest is None else min(used, request.longest)
        if wanted > room and not request.truncate:
            raise ContextExceeded(wanted + beside, room + beside, param=f"{request.params[1]}[{i}]")
        most = min(wanted, room)
        return document if used <= most else await shortened(self.link, document, most, special=special)


class _Crossed(_Work):
    """A reranking model reads query and document at once."""

    async def prepare(self) -> None:
        limit = self.link.launch.context_length
        if not limit:
            self.pairs = list(self.request.pairs)
            return
        template = self.card.metadata.get(TEMPLATE)
        marks = len(await self.link.tokenize(template, special=False)) if template else AROUND
        last, used = "", marks
        for i, (query, _) in enumerate(self.request.pairs):
            if query != last:
                last, used = query, len(await self.link.tokenize(query, special=False, control=False)) + marks
            if used >= limit:
                raise ContextExceeded(used, limit, param=self.query_param(i))
            document = await self.fitted(i, room=limit - used, beside=used, special=False)
            self.pairs.append((query, document))

    async def ranks(self) -> AsyncGenerator[Ranked, None]:
        for index, query, documents in _runs(self.pairs):
            body = encode_rank(query, documents, self.card)
            answer = await self.link.call(PATH, body, param=self.request.params[1])
            scores, used = decode_rank(answer, len(documents))
            self.tokens += used
            for i, score in enumerate(scores):
                yield Ranked(index + i, score, relevance(score, self.card))


class _Compared(_Work):
    """An embedding model reads each text once, however often it stands in the pairs."""

    async def prepare(self) -> None:
        limit = longest_input(self.link, self.card, self.request.load)
        if not limit:
            self.pairs = list(self.request.pairs)
            return
        last = ""
        for i, (query, _) in enumerate(self.request.pairs):
            if query != last and len(query.encode()) + AROUND > limit:
                used = len(await self.link.tokenize(query, control=False))
                if used > limit:
                    raise ContextExceeded(used, limit, param=self.query_param(i))
            last = query
            self.pairs.append((query, await self.fitted(i, room=limit, beside=0, special=True)))

    async def ranks(self) -> AsyncGenerator[Ranked, None]:
        """The vectors of queries are kept; those of documents are used and forgotten."""
        known: dict[str, tuple[float, ...]] = {query: () for query, _ in self.pairs}
        places: dict[str, list[int]] = {}
        async with aclosing(self._vectors(list(known))) as vectors:
            async for query, vector in vectors:
                known[query] = vector
        for i, (query, document) in enumerate(self.pairs):
            if document in known:
                yield _cosine(i, known[query], known[document])
            else:
                places.setdefault(document, []).append(i)
        async with aclosing(self._vectors(list(places))) as vectors:
            async for document, vector in vectors:
                for i in places[document]:
                    yield _cosine(i, known[self.pairs[i][0]], vector)

    async def _vectors(self, texts: list[str]) -> AsyncGenerator[tuple[str, tuple[float, ...]], None]:
        at = 0
        async with aclosing(batches(self.link, texts, param=self.request.params[1])) as answers:
            async for vectors, used in answers:
                self.tokens += used
                for values in vectors:
                    yield texts[at], normalised(values)
                    at += 1


def _cosine(index: int, a: tuple[float, ...], b: tuple[float, ...]) -> Ranked:
    score = sum(x * y for x, y in zip(a, b, strict=True))
    return Ranked(index, score, min(max(score, 0.0), 1.0))


def _runs(pairs: list[tuple[str, str]]) -> Iterator[tuple[int, str, list[str]]]:
    """Pairs in a row with the same query, some at a time: where they begin, the query, the documents."""
    index = 0
    for query, group in groupby(pairs, key=lambda pair: pair[0]):
        documents = [document for _, document in group]
        for start in range(0, len(documents), BATCH):
            part = documents[start : start + BATCH]
            yield index, query, part
            index += len(part)


async def shortened(link: Link, text: str, most: int, *, special: bool = False) -> str:
    """The longest beginning of ``text`` with at most ``most`` tokens.

    Cut as text: going through token ids and back would change what a tokenizer folds (case, accents).
    """
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        used = len(await link.tokenize(text[:middle], special=special, control=False))
        if used == most:
            return text[:middle]
        low, high = (middle, high) if used < most else (low, middle - 1)
    return text[:low]
