"""What a plan is made for: a stored model, one of the catalogue that is not here yet, or a file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from ..catalog import Catalog
from ..core.errors import BadRequest, ModelNotFound, NotFound, Unsupported
from ..core.models import Card, CardFile, Footprint, ModelName
from ..machine.shape import Shape, Tensor, shape_of, shape_of_card
from ..planning import mixes
from ..planning.known import find, nearest
from ..store import Store, catalogue, gguf_facts
from ..store.catalogue import Entry

_KEPT = 64
"""Models whose tables of tensors are remembered."""


@dataclass(frozen=True, slots=True)
class Found:
    """``source``: stored, catalogue or file; ``download`` bytes to fetch first. ``tensors`` may be empty.
    ``unknown``: what could not be told, in sentences."""

    card: Card
    tensors: tuple[Tensor, ...]
    source: str
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
            if entry := _entry(name):
                return of_entry(entry)
            raise
        return self.stored(card)

    def stored(self, card: Card) -> Found:
        """A stored model with its tensors. Raises Unsupported for what no formula is known for."""
        if not card.files:
            raise Unsupported(
                f"'{card.name}' is built into its engine: there is nothing to plan.", param="model"
            )
        if card.format != "gguf":
            raise Unsupported(
                "Plans are made for GGUF models; how much others take depends on their engine.",
                hint=f"Convert it first: inhouse convert {card.name} NEW-NAME",
                param="model",
            )
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


def _entry(name: str) -> Entry | None:
    parsed = ModelName.parse(name)
    return catalogue.find(parsed)


def of_entry(entry: Entry) -> Found:
    """A model of the catalogue: its header is in nobody's hands yet, but the shapes of many are known."""
    known = find(entry.parameters)
    kind = entry.quantization.removeprefix("UD-")
    card = Card(
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
    if known is None or kind not in mixes.BASES:
        unknown = (
            "Its KV cache and buffers are not known before it is here, so the plan counts its weights alone."
        )
        return Found(card, (), "catalogue", entry.download, (unknown,))
    arch = known.metadata["general.architecture"]
    card = dataclasses.replace(
        card,
        metadata=known.metadata,
        family=arch,
        embedding_length=known.metadata[f"{arch}.embedding_length"],
        vocabulary=known.vocabulary,
    )
    return Found(card, nearest(known, kind, entry.size), "catalogue", entry.download)


def requantised(found: Found, kind: str) -> Found:
    """The same model in another quantisation. Raises BadRequest where its size cannot be told."""
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


__all__ = ["Found", "Subjects", "of_entry", "requantised"]
