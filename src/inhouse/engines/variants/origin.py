"""Where the files of a build lie and which digests they must have.

A digest comes from the shipped list, from the user, or from the publisher: an index may give it as the
fragment ``#sha256=`` of a link (https://packaging.python.org/en/latest/specifications/simple-repository-api/),
GitHub gives one for each file of a release (REST API, "Get a release by tag name", ``assets[].digest``). A
mirror only brings bytes: it is never asked what their digest is.
"""

from __future__ import annotations

import html.parser
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from ...core.errors import BadRequest, Forbidden, NotFound, SourceFailed
from .catalogue import Build, File

GITHUB: Final = "https://github.com"
GITHUB_API: Final = "https://api.github.com"
INDEX_TYPES: Final = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
API_TYPE: Final = "application/vnd.github+json"

Pin = Literal["catalogue", "user", "publisher", ""]

_HEX = re.compile(r"[0-9a-f]{64}\Z")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}\Z", re.ASCII)
_RELEASE = re.compile(r"/([\w.-]+/[\w.-]+)/releases/download/([^/]+)/([^/]+)\Z", re.ASCII)
_WHEEL = re.compile(
    r"(?P<name>[^-]+)-(?P<version>[^-]+)(?:-\d[^-]*)?-(?P<py>[^-]+)-(?P<abi>[^-]+)-(?P<platform>[^-]+)\.whl\Z"
)
_PLATFORMS: Final = {
    ("linux", "x64"): r"manylinux\w*_x86_64",
    ("linux", "arm64"): r"manylinux\w*_aarch64",
    ("windows", "x64"): r"win_amd64",
    ("windows", "arm64"): r"win_arm64",
    ("darwin", "x64"): r"macosx\w*_(x86_64|universal2)",
    ("darwin", "arm64"): r"macosx\w*_(arm64|universal2)",
}


class Net(Protocol):
    """The network, handed in. Blocking. Raises SourceFailed, NotFound, Forbidden, NoSpace, Cancelled."""

    def index(self) -> str:
        """The package index that the user's pip is set to: the address above the packages' pages."""
        ...

    def page(self, url: str, accept: str) -> bytes:
        """A small document. Raises NotFound when there is none."""
        ...

    def file(self, wanted: Wanted, folder: Path) -> Path:
        """Bring a file, resumed where an earlier try broke off, its digest verified; else DigestMismatch."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to fetch. ``pinned`` says who told its ``sha256``; ``size`` 0 is unknown."""

    url: str
    file: str
    sha256: str = ""
    size: int = 0
    pinned: Pin = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user adds to a build: another ``version``, the digests of its files in order, a ``mirror``
    whose address replaces scheme and host of what is fetched."""

    version: str = ""
    sha256: tuple[str, ...] = ()
    mirror: str = ""


def files_of(build: Build, file: File, place: tuple[str, str], wish: Wish, net: Net) -> list[Wanted]:
    """What has to be fetched for a build, each with the digest it must have; asks the network for no more
    than index pages and digests.

    Raises BadRequest for what is no version or digest, SourceFailed where nobody tells a digest, and
    what ``net`` does.
    """
    version = version_of(build, wish)
    if build.source == "release":
        wanted = _released(build, file, version)
    elif build.source == "build":
        wanted = [_listed(build, file, net)]
    else:
        wanted = [_wheel(build, version, place, wish.mirror, net)]
    if version == build.version and file.sha256:
        pin = replace(wanted[0], sha256=file.sha256, size=file.size, pinned="catalogue")
        wanted = [_agreed(pin, wanted[0]), *wanted[1:]]
    wanted = _given(wanted, wish.sha256)
    wanted = [one if one.sha256 else _told(one, net, build.repository) for one in wanted]
    if build.source == "build":
        return wanted
    return [replace(one, url=mirrored(one.url, wish.mirror)) for one in wanted]


def version_of(build: Build, wish: Wish) -> str:
    """The version that is wished for. Raises BadRequest for what is none, and for another one of a build that
    is made from pinned sources."""
    if wish.version and not _TAG.match(wish.version):
        raise BadRequest("That is no version.", hint="For instance b11549.", param="version")
    if build.source == "build" and wish.version not in ("", build.version):
        raise BadRequest(
            f"The build {build.name!r} is made from the sources of {build.version}.",
            hint="Leave --version away.",
            param="version",
        )
    return wish.version or build.version


def mirrored(url: str, mirror: str) -> str:
    """The same path at a mirror, "" for none: ``https://github.com/a/b`` at ``https://m/x`` is
    ``https://m/x/a/b``."""
    if not mirror:
        return url
    parts = urlsplit(url)
    return mirror.rstrip("/") + parts.path + (f"?{parts.query}" if parts.query else "")


def _released(build: Build, file: File, version: str) -> list[Wanted]:
    names = [text.format(version=version) for text in (file.asset, file.beside) if text]
    base = f"{GITHUB}/{build.repository}/releases/download/{version}"
    return [Wanted(f"{base}/{name}", name) for name in names]


def _listed(build: Build, file: File, net: Net) -> Wanted:
    """A file of the user's package index."""
    base = f"{net.index().rstrip('/')}/{build.package}/"
    for one in links(net.page(base, INDEX_TYPES), base):
        if one.file == file.asset:
            return one
    raise NotFound(
        f"The package index has no {file.asset}.",
        hint="Check the index that pip is set to: pip config list",
    )


def _wheel(build: Build, version: str, place: tuple[str, str], mirror: str, net: Net) -> Wanted:
    """The wheel for this Python and system on the index of a publisher, without the digest if a mirror
    brought the page."""
    base = f"{build.index}/{build.package}/"
    page = net.page(mirrored(base, mirror), INDEX_TYPES)
    fitting = [one for one in links(page, base) if _fits(one.file, version, place)]
    if not fitting:
        raise NotFound(
            f"The publisher's index has no wheel of {build.package} {version} for this machine and Python.",
            hint="Take another build (inhouse engine list), or name a --version that the index has.",
        )
    return replace(fitting[0], sha256="", size=0, pinned="") if mirror else fitting[0]


def _fits(name: str, version: str, place: tuple[str, str]) -> bool:
    match = _WHEEL.match(name)
    if not match or match["version"] != version:
        return False
    here = sys.version_info[:2]
    own = f"cp{here[0]}{here[1]}"
    stable = re.match(r"cp3(\d+)\Z", match["py"]) if match["abi"] == "abi3" else None
    fits = (stable and int(stable[1]) <= here[1]) or (match["py"], match["abi"]) == (own, own)
    return bool(fits and re.search(_PLATFORMS.get(place, r"\A\Z"), match["platform"]))


def _agreed(ours: Wanted, theirs: Wanted) -> Wanted:
    """The pinned file. An index that states another digest for it has another file."""
    if theirs.sha256 and theirs.sha256 != ours.sha256:
        raise SourceFailed(
            f"The package index has another {ours.file} than the one that this version was tested with.",
            hint="Check the index that pip is set to: pip config list",
            detail=f"{theirs.sha256} instead of {ours.sha256}",
        )
    return ours


def _given(wanted: Sequence[Wanted], digests: Sequence[str]) -> list[Wanted]:
    """The files with the digests that the user gave; what was pinned already must agree."""
    if len(digests) > len(wanted):
        raise BadRequest("There are more digests than files.", hint="Give one for each file.", param="sha256")
    out = list(wanted)
    for i, text in enumerate(digests):
        digest = hex_of(text)
        if out[i].pinned == "catalogue" and out[i].sha256 != digest:
            raise BadRequest(
                f"The digest of {out[i].file} is known, and it is another one.",
                hint="Leave --sha256 away.",
                param="sha256",
            )
        out[i] = replace(out[i], sha256=digest, pinned="user")
    return out


def hex_of(text: str) -> str:
    """64 lower-case hex from a digest as people write it. Raises BadRequest."""
    digest = text.strip().lower().removeprefix("sha256:")
    if not _HEX.match(digest):
        raise BadRequest("A sha256 digest is 64 hex digits.", hint="Copy it whole.", param="sha256")
    return digest


def _told(wanted: Wanted, net: Net, repository: str) -> Wanted:
    """The file with the digest that its publisher states on GitHub, in his own repository."""
    parts = urlsplit(wanted.url)
    match = _RELEASE.match(unquote(parts.path))
    asset: dict[str, Any] = {}
    if match and match[1] == repository and f"{parts.scheme}://{parts.netloc}" == GITHUB:
        try:
            asset = _asset(net, match[1], match[2], match[3])
        except (SourceFailed, Forbidden) as error:
            raise SourceFailed(
                f"GitHub could not be asked for the digest of {wanted.file}: {error.message}",
                hint="Give the digest yourself: --sha256 HEX",
                detail=error.detail,
            ) from error
    digest = str(asset.get("digest") or "").removeprefix("sha256:")
    if not _HEX.match(digest):
        raise SourceFailed(
            f"Nobody tells the digest of {wanted.file}, so it is not installed.",
            hint="Ask its publisher for the digest and give it: --sha256 HEX",
        )
    size = asset.get("size")
    known = size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else 0
    return replace(wanted, sha256=digest, size=known, pinned="publisher")


def _asset(net: Net, repository: str, tag: str, name: str) -> dict[str, Any]:
    try:
        page = net.page(f"{GITHUB_API}/repos/{repository}/releases/tags/{tag}", API_TYPE)
        assets = json.loads(page)["assets"]
        found = [one for one in assets if one["name"] == name]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceFailed("GitHub's answer is not a release.", hint="Try again later.") from error
    except NotFound as error:
        raise NotFound(
            f"There is no release {tag} of {repository}.", hint="Name another --version."
        ) from error
    if not found:
        raise NotFound(f"The release {tag} has no file {name}.", hint="Name another --version, or build.")
    return dict(found[0])


def links(page: bytes, base: str) -> list[Wanted]:
    """The files that a page of a package index lists, as JSON or HTML, with digests where it states them."""
    if page.lstrip()[:1] == b"{":
        return _json_links(page, base)
    reader = _Anchors()
    reader.feed(page.decode("utf-8", "replace"))
    out = []
    for href in reader.found:
        bare, fragment = urldefrag(urljoin(base, href))
        told = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else ""
        out.append(_link(bare, unquote(urlsplit(bare).path).rpartition("/")[2], told, 0))
    return out


def _json_links(page: bytes, base: str) -> list[Wanted]:
    try:
        return [
            _link(
                urldefrag(urljoin(base, one["url"])).url,
                str(one["filename"]),
                str(one.get("hashes", {}).get("sha256", "")),
                one.get("size") or 0,
            )
            for one in json.loads(page)["files"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceFailed(
            "The package index answers with something else than a list of files.",
            hint="Check the index that pip is set to: pip config list",
        ) from error


def _link(url: str, name: str, sha256: str, size: Any) -> Wanted:
    told = bool(_HEX.match(sha256))
    known = size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else 0
    return Wanted(url, name, sha256 if told else "", known, "publisher" if told else "")


class _Anchors(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


__all__ = ["Net", "Pin", "Wanted", "Wish", "files_of", "hex_of", "links", "mirrored", "version_of"]
