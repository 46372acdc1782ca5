"""Which way of loading a model serves which wish. Pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from ..core.engine import Launch
from ..core.models import Card
from ..core.requests import LoadOptions
from .worker import Worker


@dataclass(frozen=True, slots=True)
class VariantKey:
    """A model (by digest) and the options it is loaded with."""

    digest: str
    wish: LoadOptions


def normal(load: LoadOptions) -> LoadOptions:
    """The same wish in one spelling: automatic GPU layers are no wish, nor is a context of 0."""
    layers = None if load.gpu_layers == -1 else load.gpu_layers
    return dataclasses.replace(load, gpu_layers=layers, context_length=load.context_length or None)


@dataclass(slots=True, eq=False)
class Variant:
    """A planned or running way of loading a model. ``covers`` remembers wishes found to be served."""

    key: VariantKey
    card: Card
    launch: Launch
    worker: Worker | None = None
    covers: set[LoadOptions] = field(default_factory=set)

    def agrees(self, wish: LoadOptions) -> bool:
        """Do the options other than the context length allow this wish? No opinion agrees with all."""
        own = self.key.wish
        pairs = (
            (wish.batch, own.batch),
            (wish.gpu_layers, own.gpu_layers),
            (wish.threads, own.threads),
            (wish.use_mmap, own.use_mmap),
        )
        return all(wanted is None or wanted == given for wanted, given in pairs)

    def serves(self, wish: LoadOptions, planned: Launch | None = None) -> bool:
        """Can a request with this (normal) wish run here without a reload?

        ``planned`` is what the engine would make of the wish; it settles what the wish alone does
        not, e.g. whether a default or an over-long context is more than there already is.
        """
        if wish == self.key.wish or wish in self.covers:
            return True
        if not self.agrees(wish):
            return False
        wanted = wish.context_length
        enough = wanted is not None and wanted <= self.launch.context_length
        if planned is not None and planned.context_length <= self.launch.context_length:
            enough = True
        if enough and len(self.covers) < 256:
            self.covers.add(wish)
        return enough
