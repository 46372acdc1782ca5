"""``modelscope:org/repo[@revision][:quant or file]``: the hub of modelscope.cn.

Its HTTP API as its own SDK (modelscope 1.29) uses it: ``GET /api/v1/models/<org>/<repo>/repo/files`` lists
``Path``, ``Size``, ``Sha256``, ``Type`` (blob or tree), ``Revision`` (the commit that last touched the
file) and ``CommittedDate``; ``GET /api/v1/models/<org>/<repo>/repo?Revision=&FilePath=`` is a file. A token
goes as the cookie ``m_session_id``. MODELSCOPE_ENDPOINT or MODELSCOPE_DOMAIN name another host.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from ...core.errors import BadRequest, ModelNotFound, SourceFailed
from ...net import Client
from ...net import url as urls
from ...net.transfer import remaining
from ..hub.listing import HubFile, pick
from ..hub.names import HubName, is_safe
from .base import Asset, Got, Listing, Ref, Watch

ENDPOINT: Final = "https://www.modelscope.cn"
HOST: Final = "modelscope.cn"
MASTER: Final = "master"
LIMIT: Final = 32 * 2**20
FILES: Final = 100_000

_PREFIX = re.compile(
    r"(?:(?P<url>https?://)?(?:www\.)?modelscope\.(?:cn|ai)/|modelscope:(?://)?)(?:models/)?",
    re.IGNORECASE | re.ASCII,
)
_TEXT = re.compile(
    r"(?P<repo>[^/@:]+/[^/@:]+)(?:/(?P<file>[^@:]+))?(?:@(?P<revision>[^@:]+))?(?::(?P<wanted>[^:]+))?\Z"
)
_PAGE = re.compile(r"(?P<repo>[^/]+/[^/]+)/(?:resolve|file/view|files?)/(?P<revision>[^/]+)/(?P<file>.+)\Z")
_TAB = re.compile(r"(?P<repo>[^/]+/[^/]+)/(?:files|summary|feedback)?\Z")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """A parsed source text: ``org/name``, a branch, tag or commit, and a quant or file ("": our choice)."""

    repo: str
    revision: str
    wanted: str

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"modelscope:{self.repo}{revision}" + (f":{self.wanted}" if self.wanted else "")


class ModelScope:
    """See ``base.Source``. The locator of an asset is its path at the endpoint."""

    def parse(self, text: str) -> Ref:
        place = read(text)
        name = HubName(place.repo, place.revision, place.wanted).model
        return Ref(replace(name, host=HOST), "modelscope", str(place))

    def find(self, ref: Ref, watch: Watch) -> Listing:
        place = read(ref.text)
        asked = place.revision or MASTER
        with _client(watch) as client:
            path = f"/api/v1/models/{place.repo}/repo/files?Revision={asked}&Recursive=True"
            reply = client.ask("GET", _endpoint() + path, headers=_secret(), limit=LIMIT)
        if reply.status == 404:
            raise ModelNotFound(ref.text)
        if reply.status != 200:
            raise SourceFailed(
                f"ModelScope answered HTTP {reply.status}.",
                hint="For a private model set MODELSCOPE_API_TOKEN.",
            )
        entries = _entries(reply.body)
        picked = pick([_file(entry) for entry in entries], place.wanted, watch.policy.room())
        commit = place.revision if _COMMIT.match(place.revision) else _newest(entries) or asked
        assets = tuple(
            Asset(role, file.path, file.size, file.sha256, _path(place.repo, commit, file.path))
            for role, file in picked.files
        )
        wanted = assets[0].file if assets[0].role == "model" else ""
        return Listing(assets, str(Place(place.repo, commit, wanted)), commit, said=picked.said)

    def fetch(self, asset: Asset, folder: Path, watch: Watch) -> Got:
        with _client(watch) as client:
            return client.download(_endpoint() + asset.locator, asset, folder, headers=_secret())

    def missing(self, asset: Asset, folder: Path) -> int:
        return remaining(folder, asset)


def read(text: str) -> Place:
    """Read a source text or the address of a page. Raises BadRequest."""
    prefix = _PREFIX.match(text)
    rest = text[prefix.end() :] if prefix else ""
    if prefix and prefix["url"]:
        rest = unquote(re.split(r"[?#]", rest, maxsplit=1)[0])
    match = _PAGE.match(rest) or _TAB.match(rest) or _TEXT.match(rest)
    if not match:
        raise _bad()
    parts = {name: value or "" for name, value in match.groupdict().items()}
    file, wanted, revision = parts.get("file", ""), parts.get("wanted", ""), parts.get("revision", "")
    if (file and wanted) or (revision and not (_REVISION.match(revision) and ".." not in revision)):
        raise _bad()
    wanted = file or ("" if wanted.lower() == "latest" else wanted)
    if wanted and not (is_safe(wanted) and wanted.isprintable()):
        raise _bad()
    return Place(parts["repo"], "" if revision == MASTER else revision, wanted)


def _bad() -> BadRequest:
    return BadRequest(
        "That is not a repository of ModelScope.",
        hint="Write modelscope:organisation/repository, modelscope:…:Q4_K_M or modelscope:…:file.gguf.",
        param="model",
    )


def _endpoint() -> str:
    """Where the API is; the variables are those of ModelScope's own programs, hence not our settings."""
    text = os.environ.get("MODELSCOPE_ENDPOINT") or os.environ.get("MODELSCOPE_DOMAIN") or ENDPOINT
    return (text if "://" in text else f"https://{text}").rstrip("/")


def _client(watch: Watch) -> Client:
    endpoint = _endpoint()
    own = () if endpoint == ENDPOINT else (urls.parse(endpoint).authority,)
    return Client(watch, own_hosts=own)


def _secret() -> dict[str, str]:
    token = os.environ.get("MODELSCOPE_API_TOKEN", "")
    return {"Cookie": f"m_session_id={token}"} if token else {}


def _path(repo: str, revision: str, file: str) -> str:
    return f"/api/v1/models/{repo}/repo?Revision={quote(revision, '')}&FilePath={quote(file, '')}"


def _entries(body: bytes) -> list[dict[str, Any]]:
    """The files of an answer, those left out whose names could not be ours. Raises SourceFailed."""
    try:
        answer = json.loads(body)
        if answer["Code"] != 200:
            raise SourceFailed(
                "ModelScope refused the request.",
                hint="Check the name; for a private model set MODELSCOPE_API_TOKEN.",
                detail=str(answer.get("Message", ""))[:300],
            )
        files = answer["Data"]["Files"] or []
        found = [e for e in files[:FILES] if e["Type"] == "blob" and is_safe(e["Path"])]
        if not all(isinstance(e.get("Size", 0), int) for e in found):
            raise TypeError("a size is no number")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceFailed("ModelScope's answer cannot be understood.", hint="Try again later.") from error
    return found


def _file(entry: dict[str, Any]) -> HubFile:
    sha256 = str(entry.get("Sha256", ""))
    return HubFile(entry["Path"], max(0, entry.get("Size", 0)), sha256 if _SHA256.match(sha256) else "")


def _newest(entries: list[dict[str, Any]]) -> str:
    """The last commit that touched a file: at it all files are what was listed. "" if none is told."""
    told = [e for e in entries if _COMMIT.match(str(e.get("Revision", "")))]
    dated = [(e.get("CommittedDate") or 0, str(e["Revision"])) for e in told]
    return max((pair for pair in dated if isinstance(pair[0], int)), default=(0, ""))[1]
