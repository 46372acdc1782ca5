"""``models.lock``: exactly which models these are, and what changed between two of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from ..core.errors import InhouseError, ModelNotFound
from ..core.models import Card, ModelName
from . import sources
from .manifest import Manifest, read
from .records import Record, Records, short
from .sources import SOURCES, Listing, Watch

FORMAT: Final = 1


def shareable(text: str) -> str:
    """A source text without the folders of this machine: it may end in a repository or an answer."""
    if not text or sources.kind_of(text) != "file":
        return text
    return "file:" + text.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def entry(record: Record, build: str) -> dict[str, Any]:
    """All that identifies a model. ``build`` is the engine that runs it here."""
    card, manifest = _card(record), read(record.named)
    return {
        "name": str(card.name),
        "source": shareable(record.named.source),
        "origin": shareable(manifest.origin),
        "revision": manifest.revision,
        "digest": f"sha256:{card.digest}",
        "files": [
            {"role": part.role, "file": part.file, "sha256": part.digest[7:], "size": part.size}
            for part in manifest.files()
        ],
        "template_sha256": _sha256(card.template),
        "tokenizer_sha256": manifest.facts.tokenizer_sha256,
        "system_sha256": _sha256(card.system),
        "engine": card.tuning.engine or build,
        "context_length": card.tuning.context_length or card.context_length,
        "defaults": dict(sorted(card.defaults.items())),
        "licence": card.licence.splitlines()[0][:200] if card.licence else "",
    }


def _card(record: Record) -> Card:
    if record.card is None:
        raise ModelNotFound(record.named.name)
    return record.card


class Locks:
    """Compares models with lock files, with each other and with their sources. Blocking."""

    def __init__(self, records: Records, build: str) -> None:
        self._records = records
        self._build = build

    def _record(self, name: ModelName) -> Record:
        record = self._records.find(name)
        if record is None:
            raise ModelNotFound(short(name))
        return record

    def lock(self, names: list[ModelName]) -> dict[str, Any]:
        """The contents of a lock file for some models, all if none is named."""
        wanted = names or sorted(c.name for c in self._records.cards() if not c.alias_of)
        return {
            "inhouse_lock": FORMAT,
            "models": [entry(self._record(name), self._build) for name in wanted],
        }

    def check(self, locked: Mapping[str, Any]) -> list[dict[str, str]]:
        """What of a lock file is not so here: ``model``, ``what``, ``locked`` and ``found``."""
        wrong: list[dict[str, str]] = []
        for want in locked["models"]:
            try:
                have = entry(self._record(ModelName.parse(want["name"])), self._build)
            except InhouseError as error:
                wrong.append(_differs(want["name"], "model", "present", error.message))
                continue
            wrong += [
                _differs(want["name"], key, want[key], have.get(key))
                for key in want
                if key != "source" and want[key] != have.get(key)
            ]
        return wrong

    def diff(self, first: ModelName, second: ModelName | None) -> dict[str, Any]:
        """What changes from one model to another, or from its previous version to it.

        ``weights``, ``template``, ``tokenizer`` and ``parameters`` say whether, ``changes`` what.
        """
        new = self._record(first)
        if second is not None:
            old, new = new, self._record(second)
        else:
            before = self._records.read(self._records.layout.previous_manifest(_card(new).name))
            if before is None or before.card is None:
                raise ModelNotFound(f"{short(first)} (an earlier version)")
            old = before
        return _diff(entry(old, self._build), entry(new, self._build), read(old.named), read(new.named))

    def outdated(self, names: list[ModelName], watch: Watch) -> list[dict[str, Any]]:
        """For each model whether its source has something else now. Asks the sources."""
        found = []
        for card in self._records.cards():
            if card.alias_of or (names and card.name.key not in {name.key for name in names}):
                continue
            watch.check()
            found.append({"model": str(card.name), "source": "", **self._newer(card, watch)})
        return found

    def _newer(self, card: Card, watch: Watch) -> dict[str, Any]:
        record = self._record(card.name)
        text = record.named.source
        if not text:
            return {"status": "no source", "why": "It was made here."}
        kind = sources.kind_of(text)
        if kind in ("pypi", "file"):
            return {"source": shareable(text), "status": "pinned", "why": "The source names exactly this."}
        try:
            listing = SOURCES[kind].find(sources.parse(text), watch)
        except InhouseError as error:
            return {"source": text, "status": "unknown", "why": error.message}
        same = _same(listing, card)
        return {
            "source": text,
            "status": "current" if same else "outdated",
            "revision": card.revision,
            "newest": listing.revision,
        }


def _same(listing: Listing, card: Card) -> bool:
    """Whether a listing is what is here: by digests where the source gives them, else by revision."""
    digests = {asset.sha256 for asset in listing.assets}
    if all(digests):
        here = {file.digest[7:] for file in card.files}
        return digests <= here
    return bool(listing.revision) and listing.revision == card.revision


def _differs(model: str, what: str, locked: Any, found: Any) -> dict[str, str]:
    return {"model": model, "what": what, "locked": str(locked)[:500], "found": str(found)[:500]}


def _diff(
    old: Mapping[str, Any], new: Mapping[str, Any], before: Manifest, after: Manifest
) -> dict[str, Any]:
    def weights(one: Mapping[str, Any]) -> list[str]:
        return [file["sha256"] for file in one["files"]]

    changes = {
        key: {"from": old[key], "to": new[key]}
        for key in old
        if old[key] != new[key] and key not in ("name", "digest", "source")
    }
    for key in ("quantization", "architecture", "parameters", "block_count", "vocabulary"):
        was, now = getattr(before.facts, key), getattr(after.facts, key)
        if was != now:
            changes[key] = {"from": was, "to": now}
    return {
        "from": {"name": old["name"], "digest": old["digest"]},
        "to": {"name": new["name"], "digest": new["digest"]},
        "weights": weights(old) != weights(new),
        "template": old["template_sha256"] != new["template_sha256"],
        "tokenizer": old["tokenizer_sha256"] != new["tokenizer_sha256"],
        "parameters": old["defaults"] != new["defaults"],
        "changes": changes,
    }


__all__ = ["Locks", "entry", "shareable"]
