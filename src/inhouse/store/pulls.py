"""A pull, step by step: what is meant, who has it, bring it, check it, make it visible."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.errors import (
    BadRequest,
    Cancelled,
    Conflict,
    Forbidden,
    InhouseError,
    ModelNotFound,
    NoSpace,
    NotFound,
    SourceFailed,
    StoreError,
    Unsupported,
)
from ..core.models import Card, ModelName
from . import catalogue, sources
from .catalogue import Pinned
from .fetching import Fetcher, Held
from .layout import Layout
from .making import Making, jinja_of, manifest_of
from .records import Records, short
from .sources import SOURCES, Listing, PullEvent, Watch

log = logging.getLogger(__name__)

TRIES = 3
ETAGGED = frozenset({"web", "s3"})
"""Sources whose revision is the ETag of the one file that a model is."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a text asks for: ``name`` to store it under, places to get it from in order.

    ``licence`` and ``defaults`` are what the catalogue says. ``own_template`` False: the template that
    the source gives is left out for the one inside the weights.
    """

    name: ModelName
    places: tuple[Pinned, ...]
    licence: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    own_template: bool = True


class Puller:
    """Carries out orders; blocking, in a pull's thread."""

    def __init__(self, layout: Layout, records: Records) -> None:
        self._layout = layout
        self._records = records
        self.fetcher = Fetcher(layout)

    def order(self, text: str) -> Order:
        """What a model name or source text asks for.

        A name that is neither a source's nor the catalogue's may be a stored model's: then its own
        source is asked again. Raises InvalidName, BadRequest, ModelNotFound.
        """
        if sources.is_source(text):
            ref = sources.parse(text)
            record = self._records.find(ref.name) if ref.kind == "registry" else None
            if record is not None and sources.kind_of(record.named.source) not in ("", "registry"):
                # The name of a model from a web server or the like, which reads as a registry's.
                return Order(ref.name, (Pinned(record.named.source),))
            return Order(ref.name, (Pinned(ref.text, ref.sha256, ref.size),))
        name = ModelName.parse(text)
        entry = catalogue.find(name)
        if entry is not None:
            return Order(name, entry.sources, entry.licence, entry.defaults)
        record = self._records.find(name)
        if record is None or record.card is None:
            raise catalogue.not_found(text)
        if not record.named.source:
            raise BadRequest(
                f"'{short(name)}' was made here: it has no source to pull from.",
                hint="Pull what it was made from, and create it again.",
                param="model",
            )
        return Order(record.card.name, (Pinned(record.named.source),))

    def pull(self, order: Order, watch: Watch) -> Card:
        """Bring a model in, or what changed of it; it is visible afterwards."""
        watch.say(PullEvent("pulling manifest"))
        present = self._present(order, watch)
        if present is not None:
            return present
        failed: InhouseError | None = None
        for place in order.places:
            try:
                return self._from(place, order, watch)
            except (Cancelled, NoSpace, Conflict):
                raise
            except (StoreError, NotFound, Forbidden, Unsupported) as error:
                # The first failure names what the user asked for; later places are second choices.
                failed = failed or error
                if len(order.places) > 1:
                    log.warning("source %s failed: %s %s", place.text, error.message, error.detail)
        raise failed or SourceFailed("The model has no source.", hint="Name one: inhouse pull --help")

    def _present(self, order: Order, watch: Watch) -> Card | None:
        """The model, if it came from its place and that can have nothing else: a pinned digest, or a package
        (whose first bytes are trusted from then on). One that was made here under its name gives way."""
        pins = {f"sha256:{place.sha256}" for place in order.places if place.sha256}
        fixed = all(place.kind == "pypi" and not place.sha256 for place in order.places) and not watch.fresh
        try:
            card, record = self._records.get(order.name), self._records.find(order.name)
        except (ModelNotFound, StoreError):
            return None
        if record is None or not record.named.source:
            return None
        found = next((file for file in card.of_role("model") if file.digest in pins), None)
        if found is not None:
            size = found.size
            watch.say(PullEvent(f"pulling {found.digest[7:19]}", found.digest, size, size))
        return card if found is not None or fixed else None

    def _from(self, place: Pinned, order: Order, watch: Watch) -> Card:
        source = SOURCES[place.kind]
        listing = place.listing or source.find(sources.parse(place.text), watch)
        listing = self._unchanged(_held_to(listing, place), place, order)
        if listing.said:
            watch.say(PullEvent(listing.said))
        if order.own_template:
            _check_template(listing)
        for attempt in range(TRIES):
            held = self.fetcher.bring(listing, place.kind, source, watch)
            try:
                return self._commit(order, place, listing, held, watch)
            except Conflict:  # a blob was removed with another model meanwhile
                if attempt == TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def _unchanged(self, listing: Listing, place: Pinned, order: Order) -> Listing:
        """The listing with the digest of its one file, where the source tells none but the same version of
        it came before (a strong ETag stands for the same bytes)."""
        if place.kind not in ETAGGED or len(listing.assets) != 1 or listing.assets[0].sha256:
            return listing
        try:
            card = self._records.get(order.name)
        except (ModelNotFound, StoreError):
            return listing
        [asset], held = listing.assets, card.of_role("model")
        same = listing.revision == card.revision and listing.revision[:2] not in ("", "W/")
        if not same or len(held) != 1 or held[0].size != asset.size:
            return listing
        return replace(listing, assets=(replace(asset, sha256=held[0].digest.removeprefix("sha256:")),))

    def _commit(
        self, order: Order, place: Pinned, listing: Listing, held: tuple[Held, ...], watch: Watch
    ) -> Card:
        """Check the files as a model, then make it visible."""
        texts = listing.texts
        making = Making(
            origin=next((one.origin for one in held if one.origin), listing.origin),
            revision=listing.revision,
            licence=texts.licence,
            catalogued_licence=order.licence,
            system=texts.system,
            template=texts.template if order.own_template else "",
            messages=texts.messages,
            defaults={**order.defaults, **texts.defaults},
        )
        try:
            manifest = manifest_of(held, making)
        except InhouseError as error:
            if any(not one.place.path and not one.path.exists() for one in held):
                raise Conflict(
                    "A file of the model went away while it was made.", hint="Try again."
                ) from error
            with self._layout.lock():
                self._records.drop_unused(one.part.digest for one in held)
            raise
        watch.check()
        watch.say(PullEvent("writing manifest"))
        places = {one.part.digest: one.place for one in held}
        with self._layout.lock():
            self._records.save(order.name, manifest, places, place.text)
        return self._records.get(order.name)


def _held_to(listing: Listing, place: Pinned) -> Listing:
    """A pinned file must be what was pinned: its digest is put into the listing, or contradicted."""
    models = [asset for asset in listing.assets if asset.role == "model"]
    if not place.sha256 or len(models) != 1:
        return listing
    if models[0].sha256 and models[0].sha256 != place.sha256:
        raise SourceFailed(
            f"The source has sha256:{models[0].sha256}, sha256:{place.sha256} was expected.",
            hint="The file was changed at its source. To take it as it is now, pull it from the source.",
        )
    pinned = replace(models[0], sha256=place.sha256, size=models[0].size or place.size)
    return replace(listing, assets=tuple(pinned if asset is models[0] else asset for asset in listing.assets))


def _check_template(listing: Listing) -> None:
    """Refuse a template that cannot be translated before gigabytes are fetched for it."""
    try:
        jinja_of(listing.texts.template)
    except Unsupported as error:
        error.hint = (
            "To use the template inside the weights instead, pull with --embedded-template "
            '(API: "use_embedded_template": true).'
        )
        raise


__all__ = ["Order", "Puller"]
