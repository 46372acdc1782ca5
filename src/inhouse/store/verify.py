"""Is what lies on disk what the manifests promise?"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import StoreError
from ..core.models import Card
from .layout import Layout, guarded, hash_file


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a stored model; ``fix`` is what to do."""

    model: str
    what: str
    fix: str


def complete(card: Card) -> bool:
    """Whether the weights are there in their full size; one ``stat``."""
    try:
        return os.stat(card.weights).st_size == card.size
    except OSError:
        return False


def verify(layout: Layout, read: Callable[[Path], Card | None]) -> list[Problem]:
    """Hash every blob that a manifest refers to. Slow: seconds per gigabyte. Raises StoreError."""
    problems: list[Problem] = []
    hashed: dict[str, str] = {}
    for path in layout.manifest_paths():
        label = "/".join(path.relative_to(layout.manifests).with_suffix("").parts)
        try:
            card = read(path)
        except StoreError as error:
            problems.append(Problem(label, error.message, "Remove the manifest or pull the model again."))
            continue
        if card is not None and (what := _damage(card, hashed)):
            name = str(card.name)
            problems.append(Problem(name, what, f"inhouse rm {name} && inhouse pull {name}"))
    return problems


def _damage(card: Card, hashed: dict[str, str]) -> str:
    """What is wrong with the weights of a card, "" if nothing; each file is hashed once."""
    if not complete(card):
        return "the weights are missing or cut short"
    if card.weights not in hashed:
        with guarded("verifying weights"):
            hashed[card.weights] = "sha256:" + hash_file(Path(card.weights))
    found = hashed[card.weights]
    if found == card.weights_digest:
        return ""
    return f"the weights have the digest {found}, {card.weights_digest} was expected"
