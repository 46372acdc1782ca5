"""Finds what a plan is made for: in the store, in the catalogue, or at a path."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..catalog import Catalog
from ..core.errors import BadRequest, ModelNotFound, NotFound
from ..core.models import Card, CardFile, Footprint, ModelName
from ..machine.shape import Tensor
from ..planning.found import Found, check_stored, supposed
from ..store import Store, catalogue, gguf_facts
from ..store.catalogue import Entry

_KEPT: Final = 64
"""Models whose tables of tensors are remembered."""


class Subjects:
    """Finds what a name, or a path of a trusted caller, stands for. Blocking: reads headers."""

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog
        self._tables: dict[str, tuple[Tensor, ...]] = {}

    def of(self, name: str) -> Found:
        """A stored model, else one of the catalogue. Raises ModelNotFound, Unsupported, StoreError."""
        try:
            card = self._catalog.resolve(name)
        except ModelNotFound:
            if entry := catalogue.find(ModelName.parse(name)):
                return supposed(_card(entry), entry.download)
            raise
        return self.stored(card)

    def stored(self, card: Card) -> Found:
        """A stored model with its tensors. Raises Unsupported for what no formula is known for."""
        check_stored(card)
        return Found(card, self._tensors(card), "stored")

    def _tensors(self, card: Card) -> tuple[Tensor, ...]:
        if card.digest not in self._tables:
            while len(self._tables) >= _KEPT:
                self._tables.pop(next(iter(self._tables)), None)
            self._tables[card.digest] = tuple(_tensor(row) for row in self._store.tensors(card))
        return self._tables[card.digest]

    @staticmethod
    def file(path: Path) -> Found:
        """A GGUF file that is not stored. Raises NotFound, BadRequest, Unsupported."""
        if not path.is_absolute():
            raise BadRequest("The path must be absolute.", param="path")
        if not path.is_file():
            raise NotFound("There is no such file.", param="path", detail=str(path))
        facts = gguf_facts.inspect(path)
        size = path.stat().st_size
        tensors = tuple(_tensor(row._asdict()) for row in gguf_facts.tensors([path]))
        card = Card(
            ModelName.parse("file"),
            "",
            str(path),
            "",
            size,
            Footprint(size, facts.kv_per_token),
            capabilities=frozenset(facts.capabilities),
            family=facts.architecture,
            parameters=facts.parameters,
            quantization=facts.quantization,
            context_length=facts.context_length,
            embedding_length=facts.embedding_length,
            vocabulary=facts.vocabulary,
            files=(CardFile("model", str(path), path.name, "", size),),
            metadata=facts.metadata,
        )
        return Found(card, tensors, "file")


def _tensor(row: dict[str, object]) -> Tensor:
    shape = row["shape"]
    return Tensor(
        str(row["name"]),
        tuple(int(n) for n in shape) if isinstance(shape, list) else (),
        str(row["type"]),
        int(str(row["size"])),
    )


def _card(entry: Entry) -> Card:
    """What the catalogue says of a model."""
    return Card(
        ModelName.parse(entry.name),
        entry.sha256,
        "",
        entry.sha256,
        entry.size,
        Footprint(entry.size, 0),
        capabilities=frozenset(entry.capabilities),
        parameters=entry.parameters,
        quantization=entry.quantization,
        context_length=entry.context_length,
    )


__all__ = ["Subjects"]
