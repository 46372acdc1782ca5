"""Ollama's own store on this machine, read and never written.

    <models>/manifests/<host>/<namespace>/<model>/<tag>   a manifest, JSON
    <models>/blobs/sha256-<64 hex>                        layers; sha256:<64 hex> in old stores

Manifests are believed no more than those of a registry; what is broken is left out.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ...core.errors import InhouseError, Unsupported
from ..oci import layers, manifest, media, names, texts
from ..sources import base as sources
from . import base

SAID: Final = "The copy in the Ollama store of this machine is used where it lies."
_MODELS_CEILING: Final = 100_000


def roots(environ: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Folders that may be an Ollama store: the one set, else where its installers put it."""
    if folder := environ.get("OLLAMA_MODELS"):
        return (Path(folder).expanduser(),)
    found = [home / ".ollama" / "models"]
    if sys.platform not in ("win32", "darwin"):
        found += [
            Path("/usr/share/ollama/.ollama/models"),
            Path("/var/lib/ollama/models"),
            Path("/var/snap/ollama/common/models"),
        ]
    return tuple(found)


def scan(environ: Mapping[str, str], home: Path) -> list[base.Found]:
    """All whole models of all Ollama stores, without their texts; no blob is opened.

    Models for Ollama's cloud or its MLX engine are left out, so is whatever is broken.
    """
    out: list[base.Found] = []
    seen: set[str] = set()
    for root in roots(environ, home):
        for path, place in _walk(root / "manifests"):
            if place.text in seen or len(out) >= _MODELS_CEILING:
                continue
            try:
                listing, modified_at = _listing(root, path, place, deep=False)
            except (InhouseError, OSError):
                continue
            seen.add(place.text)
            out.append(base.Found("ollama", place.text, listing, modified_at))
    return out


def lookup(place: names.Place, environ: Mapping[str, str], home: Path) -> sources.Listing | None:
    """A model of the Ollama stores with its texts, None if it is not there (whole, and readable).

    Names are compared without case. Raises Unsupported for a model that only Ollama itself can run.
    """
    if place.dialect != "ollama" or place.repository.count("/") != 1:
        return None
    for root in roots(environ, home):
        for path in _candidates(root / "manifests", place):
            try:
                listing, _ = _listing(root, path, place, deep=True)
            except Unsupported:
                raise
            except (InhouseError, OSError):
                continue
            if not place.digest or listing.revision == place.digest:
                return listing
    return None


def _candidates(manifests: Path, place: names.Place) -> Iterator[Path]:
    """Manifest files that may be meant by a place: the exact one first."""
    exact = manifests.joinpath(place.host, *place.repository.split("/"), place.tag or place.name.tag)
    if exact.is_file():
        yield exact
        return
    for path, found in _walk(manifests):
        if found.name.key == place.name.key:
            yield path


def _walk(manifests: Path) -> Iterator[tuple[Path, names.Place]]:
    """Manifest files four folders down, with the places that they are manifests of."""
    for host in _entries(manifests):
        for namespace in _entries(host.path):
            for model in _entries(namespace.path):
                for tag in _entries(model.path):
                    text = f"ollama:{host.name}/{namespace.name}/{model.name}:{tag.name}"
                    try:
                        yield Path(tag.path), names.parse(text)
                    except InhouseError:
                        continue


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """What a folder holds, in order; nothing where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError:
        return []


def _read(path: Path, ceiling: int) -> tuple[bytes, float]:
    """A small regular file and its age. Raises OSError."""
    info = path.stat()
    if not stat.S_ISREG(info.st_mode) or info.st_size > ceiling:
        raise OSError("not a small file")
    return path.read_bytes(), info.st_mtime


def _blob(root: Path, descriptor: manifest.Descriptor) -> Path:
    """The whole blob of a descriptor. Raises OSError."""
    for mark in ("-", ":") if sys.platform != "win32" else ("-",):
        path = root / "blobs" / f"sha256{mark}{descriptor.hex}"
        try:
            info = path.stat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(info.st_mode) and info.st_size == descriptor.size:
            return path
    raise FileNotFoundError("a blob is missing or not whole")


def _small(root: Path, descriptor: manifest.Descriptor) -> bytes:
    """A small blob, its digest checked. Raises OSError."""
    body, _ = _read(_blob(root, descriptor), texts.CEILING)
    if hashlib.sha256(body).hexdigest() != descriptor.hex:
        raise OSError("a blob is damaged")
    return body


def _listing(root: Path, path: Path, place: names.Place, *, deep: bool) -> tuple[sources.Listing, float]:
    """What a manifest lists, and the age of it. ``deep``: with config and texts.

    Raises SourceFailed, Unsupported, OSError.
    """
    body, modified_at = _read(path, manifest.CEILING)
    found = manifest.parse(body)
    if not isinstance(found, manifest.Manifest):
        raise manifest.bad("it is an index")
    config: Any = {}
    if deep and found.config:
        # A store that was copied by hand may lack it; the weights say what matters.
        with contextlib.suppress(FileNotFoundError):
            config = texts.document(_small(root, found.config), "the config")
            layers.check_config(config)
    contents = layers.contents(found, config)
    assets = tuple(
        sources.Asset(p.role, p.file, p.blob.size, p.blob.hex, _blob(root, p.blob), p.scale)
        for p in contents.pieces
    )
    said: list[tuple[media.Meaning, bytes]] = []
    if deep:
        said = [(meaning, _small(root, blob)) for meaning, blob in contents.texts]
    digest = "sha256:" + hashlib.sha256(body).hexdigest()
    origin = place.pinned(digest).text if place.tag else place.text
    return sources.Listing(assets, origin, digest, texts.read(said), SAID), modified_at
