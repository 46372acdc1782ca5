"""``hf.co/org/repo[@revision][:quant or file]`` and the addresses that a browser shows. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from ...core.errors import BadRequest
from ...core.models import ModelName

HOST: Final = "hf.co"
MAIN: Final = "main"
TAG: Final = 128

_PREFIX = re.compile(r"(?P<url>https?://)?(?:huggingface\.co|hf\.co)/|hf:(?://)?", re.IGNORECASE | re.ASCII)
_TEXT = re.compile(
    r"(?P<repo>[^/@:]+/[^/@:]+)(?:/(?P<file>[^@:]+))?(?:@(?P<revision>[^@:]+))?(?::(?P<wanted>[^:]+))?\Z"
)
_PAGE = re.compile(r"(?P<repo>[^/]+/[^/]+)/(?:resolve|blob|raw|tree)/(?P<revision>[^/]+)(?:/(?P<file>.+))?\Z")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}\Z", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\:]")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)
COMMIT: Final = re.compile(r"[0-9a-f]{40}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class HubName:
    """``repo`` is ``org/name``, ``revision`` a branch, tag or commit ("" is main), ``wanted`` a
    quant or a file of the repository ("" leaves the choice to us)."""

    repo: str
    revision: str = ""
    wanted: str = ""

    def __str__(self) -> str:
        """The canonical source text."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{HOST}/{self.repo}{revision}" + (f":{self.wanted}" if self.wanted else "")

    @property
    def model(self) -> ModelName:
        """What it is stored as; a revision that was asked for is part of the tag. Raises InvalidName."""
        parts = [self.wanted, f"at-{self.revision}" if self.revision else ""]
        whole = "-".join(part.replace("/", "--") for part in parts if part)
        tag = _UNSAFE.sub("-", whole).strip("-._")
        tag = re.sub(r"\.{2,}", ".", tag)
        if len(tag) > TAG or (whole and not tag):
            tag = tag[: TAG - 9] + "-" * bool(tag) + hashlib.sha256(whole.encode()).hexdigest()[:8]
        return ModelName.parse(f"{HOST}/{self.repo}:{tag or 'latest'}")


def is_safe(file: str) -> bool:
    """Whether a repository's file name can be one below a folder of ours, on any system."""
    parts = file.split("/")
    return len(file) <= 400 and not _CONTROL.search(file) and all(p not in ("", ".", "..") for p in parts)


def parse(text: str) -> HubName:
    """Read a source text. Raises BadRequest, InvalidName."""
    prefix = _PREFIX.match(text)
    if prefix is None:
        raise _bad()
    rest = text[prefix.end() :]
    if prefix["url"]:
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    repo, revision, wanted = _read(rest.rstrip("/"))
    wanted = "" if wanted.lower() == "latest" else wanted
    revision = "" if revision == MAIN else revision
    if revision and not (_REVISION.match(revision) and is_safe(revision)):
        raise _bad()
    if wanted and not (is_safe(wanted) and wanted.isprintable()):
        raise _bad()
    name = HubName(repo, revision, wanted)
    _ = name.model  # raises where organisation or repository cannot be part of a name
    return name


def _read(rest: str) -> tuple[str, str, str]:
    """Repository, revision and what is wanted, unchecked."""
    if page := _PAGE.match(rest):
        repo, revision, file = (unquote(part or "") for part in page.group("repo", "revision", "file"))
        # The page of a folder, or of a file that is no model by itself, means the repository.
        return repo, revision, file if file.lower().endswith(".gguf") else ""
    match = _TEXT.match(rest)
    if match is None:
        raise _bad()
    repo, revision, file, wanted = (part or "" for part in match.group("repo", "revision", "file", "wanted"))
    if file and (wanted or not file.lower().endswith(".gguf")):
        raise _bad()
    return repo, revision, file or wanted


def _bad() -> BadRequest:
    return BadRequest(
        "That is not a repository of Hugging Face.",
        hint="Write hf.co/organisation/repository, hf.co/…:Q4_K_M or hf.co/…:file.gguf.",
        param="model",
    )


__all__ = ["COMMIT", "HOST", "MAIN", "HubName", "is_safe", "parse"]
