"""The GGUF models in Hugging Face's cache, those that newer versions of llama.cpp put there included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from ...core.errors import BadRequest
from .. import quants
from ..hub import cache, names
from ..hub.cache import CachedRepo
from ..hub.listing import HubFile, pick
from ..hub.names import HubName
from ..sources.base import Listing
from .base import Found
from .files import asset, listed

PROGRAM: Final = "huggingface"
PREFIX: Final = "models--"


def scan(environ: Mapping[str, str], home: Path) -> list[Found]:
    """Every model of every repository, in the newest commit that has it, main's before all others."""
    return [found for repo, held in repositories(cache.folder(environ, home)) for found in _of(repo, held)]


def repositories(top: Path) -> Iterator[tuple[str, CachedRepo]]:
    """The repositories of a cache: ``org/name`` and where they lie."""
    for entry in listed(top):
        repo = entry.name.removeprefix(PREFIX).replace("--", "/")
        if entry.name.startswith(PREFIX) and _is_name(str(HubName(repo))):
            yield repo, CachedRepo(top, repo)


def _of(repo: str, held: CachedRepo) -> Iterator[Found]:
    seen: set[str] = set()
    for commit in held.commits():
        files = held.files(commit)
        for choice in quants.group((file.path, file.size) for file in files):
            if choice.file not in seen and (found := _found(repo, held, commit, files, choice.file)):
                seen.add(choice.file)
                yield found


def _found(repo: str, held: CachedRepo, commit: str, files: list[HubFile], file: str) -> Found | None:
    text = str(HubName(repo, "", file))
    folder = held.path(commit, "")
    assets = tuple(asset(role, one, folder) for role, one in pick(files, file, 0).files)
    try:
        modified = (folder / file).stat().st_mtime
    except OSError:
        return None
    if not _is_name(text):
        return None
    return Found(PROGRAM, text, Listing(assets, str(HubName(repo, commit, file)), commit), modified)


def _is_name(text: str) -> bool:
    try:
        return str(names.parse(text)) == text
    except BadRequest:
        return False
