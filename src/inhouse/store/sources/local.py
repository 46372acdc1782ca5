"""A path of this machine, used in place: a GGUF file, or a folder with one GGUF or safetensors model.

The user of this machine may name any path. Whoever asks over the API may name only what lies in the
folders that the operator gave (``Policy.folders``), links resolved; everything else is refused in the
same words whether it exists or not, and without looking.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from ...core.errors import BadRequest, DigestMismatch, Forbidden, ModelNotFound, SourceFailed
from ...core.models import DEFAULT_HOST, ModelName
from .. import quants
from ..hub.listing import HubFile, Picked, pick
from ..hub.names import is_safe
from ..layout import hash_open
from ..regular import open_regular
from .base import Asset, Got, Listing, PullEvent, Ref, Watch

NAMESPACE: Final = "local"
STEM: Final = 80
DEPTH: Final = 3
MOST: Final = 4096
TELL: Final = 0.1
LENGTH: Final = 4096

_PART = re.compile(r"(?P<stem>.+)-[0-9]{5}-of-(?P<of>[0-9]{5})\Z", re.ASCII)
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)
_DRIVE = re.compile(r"/[A-Za-z]:[/\\]", re.ASCII)


class Local:
    """See ``base.Source``."""

    def parse(self, text: str) -> Ref:
        """An absolute path or ``file:`` URL. Raises BadRequest for any other: whose folder would it be?"""
        path = _path(text)
        if not os.path.isabs(path):
            raise _bad(
                "A local model is named by its absolute path.",
                "The command line makes a path absolute; over the API write it in full.",
            )
        if not path.isprintable() or len(path) > LENGTH:
            raise BadRequest(
                "That is not a usable path.", hint="Name a .gguf file or a folder.", param="model"
            )
        path = os.path.normpath(path)
        return Ref(_name(path), "file", path)

    def find(self, ref: Ref, watch: Watch) -> Listing:
        admitted = _admit(Path(ref.text), watch)
        with _reading():
            try:
                is_folder = stat.S_ISDIR(os.stat(admitted).st_mode)
            except (FileNotFoundError, NotADirectoryError) as error:
                missing = ModelNotFound(ref.name.model)
                missing.hint = "There is no such file or folder on this machine."
                raise missing from error
            picked = _of_folder(admitted, watch) if is_folder else _of_file(admitted)
        base = admitted if is_folder else admitted.parent
        assets = tuple(
            Asset(role, file.path, file.size, "", _admit(base / file.path, watch))
            for role, file in picked.files
        )
        return Listing(assets, ref.text, said=picked.said)

    def fetch(self, asset: Asset, folder: Path, watch: Watch) -> Got:
        path: Path = asset.locator
        _admit(path, watch)
        title = f"pulling {asset.sha256[:12] or asset.file}"
        digest = f"sha256:{asset.sha256}" if asset.sha256 else ""
        with _reading(), open_regular(path) as file:
            before = os.fstat(file.fileno())
            told = 0.0

            def tick(done: int) -> None:
                nonlocal told
                watch.check()
                if time.monotonic() - told >= TELL or done == before.st_size:
                    told = time.monotonic()
                    watch.say(PullEvent(title, digest, before.st_size, done))

            sha256 = hash_open(file, tick)
            after = os.fstat(file.fileno())
        watch.say(PullEvent("verifying sha256 digest"))
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise SourceFailed("The file changed while it was read.", hint="Wait until it is complete.")
        if asset.sha256 and sha256 != asset.sha256:
            raise DigestMismatch(
                f"The file has the digest sha256:{sha256}, sha256:{asset.sha256} was expected.",
                hint="It is not what it was. Nothing of it was changed or kept.",
            )
        return Got(path, sha256, after.st_size, in_place=True)

    def missing(self, asset: Asset, folder: Path) -> int:
        """Nothing is ever copied."""
        return 0


def _bad(message: str, hint: str) -> BadRequest:
    return BadRequest(message, hint=hint, param="model")


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """An OSError of somebody's file in our words."""
    try:
        yield
    except OSError as error:
        raise SourceFailed(
            f"The local model cannot be read: {error.strerror or type(error).__name__}.",
            hint="Check that the user who runs the server may read it.",
            detail=str(error),
        ) from error


def _path(text: str) -> str:
    """The path that a text names, not yet checked. A URL's host must be this machine."""
    if text[:5].lower() != "file:":
        return text
    rest = unquote(text[5:])
    if rest.startswith("//"):
        host, slash, rest = rest[2:].partition("/")
        rest = slash + rest
        if host not in ("", "localhost"):
            raise BadRequest(
                "A file: URL names a file of this machine.", hint="Write file:///…", param="model"
            )
    return rest[1:] if _DRIVE.match(rest) else rest


def _name(path: str) -> ModelName:
    """``local/<stem>:<8 hex of the path>``: two paths never meet in one name, one path always does."""
    stem = re.split(r"[/\\]", path)[-1]
    stem = stem[: -len(quants.GGUF)] if stem.lower().endswith(quants.GGUF) else stem
    if part := _PART.match(stem):
        stem = part["stem"]
    stem = re.sub(r"\.{2,}", ".", _UNSAFE.sub("-", stem)).strip("-._")[:STEM].strip("-._")
    tag = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return ModelName(DEFAULT_HOST, NAMESPACE, stem or "model", tag)


def _admit(path: Path, watch: Watch) -> Path:
    """The path itself, if it may be read. Raises Forbidden, in words that tell nothing about it."""
    if watch.trusted:
        return path
    folders = [str(folder) for folder in watch.policy.folders]
    real = [os.path.realpath(folder) for folder in folders]
    # First by its text alone: not even a stat for what is outside. Then where its links really lead.
    if _below(os.path.normpath(path), [*folders, *real]) and _below(os.path.realpath(path), real):
        return path
    raise Forbidden(
        "That path is outside the folders whose models may be used.",
        hint="The operator can allow folders with INHOUSE_MODEL_FOLDERS; the command line needs none.",
    )


def _below(path: str, folders: list[str]) -> bool:
    folded = os.path.normcase(path)
    tops = (os.path.normcase(os.path.normpath(folder)).rstrip(os.sep) + os.sep for folder in folders)
    return any((folded.rstrip(os.sep) + os.sep).startswith(top) for top in tops)


def _of_file(path: Path) -> Picked:
    """A file, with its siblings if it is a part of a split model."""
    if path.suffix.lower() != quants.GGUF:
        raise BadRequest(
            "Only .gguf files can be named.", hint="Name the folder of a safetensors model.", param="model"
        )
    names = [path.name]
    if part := _PART.match(path.stem):
        count = min(int(part["of"]), MOST)
        names = [f"{part['stem']}-{at:05}-of-{part['of']}{path.suffix}" for at in range(1, count + 1)]
    found = []
    for name in names:
        try:
            found.append(HubFile(name, os.stat(path.with_name(name)).st_size))
        except FileNotFoundError as error:
            raise SourceFailed(
                "A part of this split model is missing.",
                hint=f"There must be {len(names)} parts in one folder.",
                detail=name,
            ) from error
    return Picked(tuple(("model", file) for file in found))


def _of_folder(folder: Path, watch: Watch) -> Picked:
    """The one model of a folder, with a projector that lies beside it."""
    files = []
    for file in _walk(folder, "", DEPTH, watch):
        files.append(file)
        if len(files) > MOST:
            raise _bad("The folder holds too many files.", "Name the model's own.")
    top = [file for file in files if "/" not in file.path]
    choices = quants.group((file.path, file.size) for file in top)
    if len(choices) > 1:
        some = ", ".join(choice.file for choice in choices[:8])
        raise _bad("The folder holds several models.", f"Name one of: {some}")
    return pick(top if choices else files, choices[0].file if choices else "", 0)


def _walk(folder: Path, before: str, depth: int, watch: Watch) -> Iterator[HubFile]:
    watch.check()
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        name = before + entry.name
        if not is_safe(name):
            continue
        if depth and entry.is_dir(follow_symlinks=False):
            yield from _walk(folder / entry.name, name + "/", depth - 1, watch)
        elif entry.is_file():  # of a link: what it leads to; that is checked before it is opened
            yield HubFile(name, entry.stat().st_size)
