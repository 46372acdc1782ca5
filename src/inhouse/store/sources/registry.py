"""``ollama:name:tag``, ``host/namespace/model:tag`` and ``oci://registry/repo:tag``: registries."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ...core.errors import InhouseError, ModelNotFound, SourceFailed, Unsupported
from ...net.transfer import remaining
from ..foreign import ollama
from ..layout import guarded
from ..oci import access, layers, manifest, names, remote, settings, texts
from .base import Asset, Got, Listing, PullEvent, Ref, Watch

_CHOICES: Final = 8
"""Manifests of an index that are looked at."""


class Registry:
    """See ``base.Source``. ``config``: what the environment says, read anew for each pull if None."""

    def __init__(self, config: settings.Settings | None = None) -> None:
        self._config = config
        self._keys = access.Keys()

    def _settings(self, watch: Watch) -> settings.Settings:
        return self._config or settings.read(watch.policy.environ)

    def parse(self, text: str) -> Ref:
        place = names.parse(text)
        return Ref(place.name, "registry", place.text)

    def find(self, ref: Ref, watch: Watch) -> Listing:
        place = names.parse(ref.text)
        config = self._settings(watch)
        if not watch.fresh and (listing := ollama.lookup(place, config.environ, config.home)):
            return listing
        there = remote.Remote(place, "pull", config, watch, self._keys)
        try:
            return _find(there)
        finally:
            there.close()

    def fetch(self, asset: Asset, folder: Path, watch: Watch) -> Got:
        if isinstance(asset.locator, Path):
            return _in_place(asset, asset.locator, watch)
        there = remote.Remote(asset.locator, "pull", self._settings(watch), watch, self._keys)
        try:
            got = there.download(asset, folder)
        finally:
            there.close()
        if got.size != asset.size:
            raise SourceFailed(
                f"The layer sha256:{asset.sha256[:12]}… has {got.size} bytes, {asset.size} were promised.",
                hint="The registry or the model in it is damaged or hostile.",
            )
        return got

    def missing(self, asset: Asset, folder: Path) -> int:
        return 0 if isinstance(asset.locator, Path) else remaining(folder, asset)


def _in_place(asset: Asset, path: Path, watch: Watch) -> Got:
    """A file of the Ollama store: named by its digest, so that its size is all there is to check."""
    with guarded("looking at the Ollama store"):
        size = path.stat().st_size
    if size != asset.size:
        raise SourceFailed(
            "A file of the Ollama store changed while it was looked at.",
            hint="Pull the model again in Ollama, or pull it afresh here.",
        )
    watch.say(PullEvent(f"pulling {asset.sha256[:12]}", f"sha256:{asset.sha256}", size, size))
    return Got(path, asset.sha256, size, in_place=True)


def _find(there: remote.Remote) -> Listing:
    found, digest = _manifest(there)
    if isinstance(found, manifest.Index):
        return _from_index(there, found, digest)
    return _listing(there, found, digest)


def _manifest(there: remote.Remote) -> tuple[manifest.Manifest | manifest.Index, str]:
    """The manifest of the place. Ollama's registry may know tags only: then the tag must still stand
    for the pinned digest."""
    place = there.place
    try:
        body, digest = there.manifest(place.reference)
    except ModelNotFound:
        if not (place.digest and place.tag):
            raise
        body, digest = there.manifest(place.tag)
        if digest != place.digest:
            raise SourceFailed(
                f"The registry no longer has {place.digest[:19]}…; its tag stands for {digest[:19]}… now.",
                hint="Pull the tag without the digest to get the new version.",
            ) from None
    return manifest.parse(body), digest


def _from_index(there: remote.Remote, index: manifest.Index, digest: str) -> Listing:
    """The first manifest of an index that is a model."""
    first: InhouseError | None = None
    for item in manifest.choose(index)[:_CHOICES]:
        body, _ = there.manifest(item.digest)
        found = manifest.parse(body)
        try:
            if isinstance(found, manifest.Manifest):
                return _listing(there, found, digest)
        except Unsupported as error:
            first = first or error
    raise first or manifest.bad("the index leads to no manifest")


def _listing(there: remote.Remote, found: manifest.Manifest, digest: str) -> Listing:
    config: Any = {}
    if found.config and _is_json(found.config):
        config = texts.document(there.small(found.config, texts.CEILING), "the config")
        layers.check_config(config)
    contents = layers.contents(found, config)
    said = [(meaning, there.small(blob, texts.CEILING)) for meaning, blob in contents.texts]
    pinned = there.place.pinned(digest)
    assets = tuple(
        Asset(p.role, p.file, p.blob.size, p.blob.hex, there.place, p.scale) for p in contents.pieces
    )
    return Listing(assets, pinned.text, digest, texts.read(said))


def _is_json(config: manifest.Descriptor) -> bool:
    """ORAS puts an empty blob of any type where it has no config."""
    return config.size > 0 and "json" in config.media_type
