"""``hf.co/org/repo[:quant|:file]`` and ``hf:``: the Hugging Face Hub and its cache.

What the cache has is used where it lies; what is fetched is put there too, so that every program of this
machine that knows Hugging Face finds it. HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE
hold. Where the cache cannot be written, or another file is in the way, the file becomes one of our own.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ...core.errors import ModelNotFound, Unsupported
from ...net import Client
from ...net.transfer import remaining
from ..hub import cache, names
from ..hub.cache import CachedRepo
from ..hub.client import HubClient, Repository, Unreachable, environ
from ..hub.listing import TEXTS, HubFile, Picked, pick
from ..hub.names import HubName
from ..layout import guarded, hash_open
from ..regular import open_regular, read_small
from .base import Asset, Got, Listing, PullEvent, Ref, Texts, Watch

log = logging.getLogger(__name__)

TEXT_LIMIT: Final = 2**16
_BLOB = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\Z", re.ASCII)

Reader = Callable[[HubFile], bytes]


@dataclass(frozen=True, slots=True)
class Remote:
    """Where an asset lies at the Hub: a file of a repository at a commit; ``revision`` as asked for."""

    repo: str
    revision: str
    commit: str
    file: HubFile


class Hub:
    """See ``base.Source``."""

    def parse(self, text: str) -> Ref:
        name = names.parse(text)
        return Ref(name.model, "hf", str(name))

    def find(self, ref: Ref, watch: Watch) -> Listing:
        name = names.parse(ref.text)
        held = self._held(name.repo)
        pinned = bool(names.COMMIT.match(name.revision))
        if name.wanted.lower().endswith(".gguf") and (pinned or not watch.fresh):
            # A file by name is what another program's store was seen to hold: no need to ask for it.
            listing = self._here(name, held, watch)
            if listing is not None:
                return listing
        client = HubClient(watch, environ())
        try:
            repository = client.look(name)
        except Unreachable as error:
            if listing := self._here(name, held, watch):
                said = f"{error.failure.message} What its cache holds is used. {listing.said}".strip()
                return replace(listing, said=said)
            raise error.failure from error

        def read(file: HubFile) -> bytes:
            return self._text(client, name, repository.commit, file, watch)

        try:
            return self._listing(name, repository, watch, read)
        except ModelNotFound as error:
            missing = ModelNotFound(ref.text)
            missing.hint = error.hint
            raise missing from error

    def fetch(self, asset: Asset, folder: Path, watch: Watch) -> Got:
        place: Remote = asset.locator
        held = self._held(place.repo)
        if got := _cached(asset, held, watch):
            return got
        name = HubName(place.repo, place.revision)
        client = HubClient(watch, environ())
        try:
            url, secret, etag = client.locate(name, place.commit, place.file.path)
        except Unreachable as error:
            raise error.failure from error
        http = Client(watch, own_hosts=client.own_hosts)
        try:
            got = http.download(url, asset, folder, headers=secret)
        finally:
            http.close()
        blob = next((b for b in (place.file.blob, etag) if _BLOB.match(b)), got.sha256)
        file = replace(place.file, size=got.size, blob=blob)
        try:
            path = held.add(place.commit, file, got.path, watch.check)
            held.remember(place.revision, place.commit)
        except OSError as error:
            log.info("a file of Hugging Face is kept in our own store: %s", error)
            return got
        return replace(got, path=path, in_place=True)

    def missing(self, asset: Asset, folder: Path) -> int:
        place: Remote = asset.locator
        with contextlib.suppress(OSError):
            if self._held(place.repo).link(place.commit, place.file):
                return 0
        return remaining(folder, asset)

    def _held(self, repo: str) -> CachedRepo:
        return CachedRepo(cache.folder(environ(), Path.home()), repo)

    def _here(self, name: HubName, held: CachedRepo, watch: Watch) -> Listing | None:
        """The model as the cache has it, None where something is missing."""
        commits = [held.commit(name.revision)] if name.revision else held.commits()
        for commit in commits:
            files = tuple(held.files(commit)) if commit else ()
            read = _reader(held, commit)
            with contextlib.suppress(ModelNotFound, Unsupported):
                return self._listing(name, Repository(commit, files), watch, read)
        return None

    def _listing(self, name: HubName, found: Repository, watch: Watch, read: Reader) -> Listing:
        picked = pick(found.files, name.wanted, watch.policy.room())
        assets = tuple(
            Asset(role, f.path, f.size, f.sha256, Remote(name.repo, name.revision, found.commit, f))
            for role, f in picked.files
        )
        wanted = assets[0].file if assets[0].role == "model" else ""
        origin = str(HubName(name.repo, found.commit, wanted))
        return Listing(assets, origin, found.commit, _texts(picked, found, read), picked.said)

    def _text(self, client: HubClient, name: HubName, commit: str, file: HubFile, watch: Watch) -> bytes:
        try:
            url, secret, _ = client.locate(name, commit, file.path)
        except Unreachable as error:
            raise error.failure from error
        http = Client(watch, own_hosts=client.own_hosts)
        try:
            reply = http.ask("GET", url, headers=secret, limit=TEXT_LIMIT)
        finally:
            http.close()
        return reply.body if reply.status == 200 else b""


def _reader(held: CachedRepo, commit: str) -> Reader:
    return lambda file: read_small(held.path(commit, file.path), TEXT_LIMIT)


def _cached(asset: Asset, held: CachedRepo, watch: Watch) -> Got | None:
    """The asset as it lies in the cache, None if it is not there or not of the right size."""
    place: Remote = asset.locator
    try:
        path = held.link(place.commit, place.file)
        if path is None:
            return None
        size = path.stat().st_size
    except OSError:
        return None
    digest = f"sha256:{asset.sha256}" if asset.sha256 else ""
    title = f"pulling {asset.sha256[:12] or asset.file}"
    sha256 = asset.sha256
    if not sha256:
        with guarded("reading a model"), open_regular(path) as file:
            sha256 = hash_open(file, lambda done: watch.check())
    # A blob of the cache is named by its digest and was checked by whoever put it there; reading many
    # gigabytes again at every pull would tell nothing new. "inhouse verify" does read them.
    watch.say(PullEvent(title, digest, size, size))
    return Got(path, sha256, size, in_place=True)


def _texts(picked: Picked, found: Repository, read: Reader) -> Texts:
    """The licence of the card, and the files ``template``, ``system`` and ``params`` of a GGUF repository
    (https://huggingface.co/docs/hub/ollama)."""
    texts = {
        file.path: read(file).decode("utf-8", "replace")
        for file in (found.files if picked.files[0][0] == "model" else ())
        if file.path in TEXTS and file.size <= TEXT_LIMIT
    }
    return Texts(
        template=texts.get("template", ""),
        system=texts.get("system", "").strip(),
        licence=found.licence,
        defaults=_defaults(texts.get("params", "")),
    )


def _defaults(text: str) -> dict[str, Any]:
    """Options of a ``params`` file (JSON), as far as they are plain; {} where it is not to be read."""
    try:
        read = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return {str(k): v for k, v in read.items() if _plain(v)} if isinstance(read, dict) else {}


def _plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, str | int | float | bool)
