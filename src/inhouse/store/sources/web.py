"""``https://host/folder/file.gguf[#sha256=<64 hex>]``: a file of a web server, and the others of its set."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from ...core.errors import BadRequest, DigestMismatch, ModelNotFound, SourceFailed, Unsupported
from ...core.models import ModelName
from ...net import Client, Reply
from ...net import url as urls
from ...net.transfer import remaining
from .base import Asset, Got, Listing, Ref, Watch

GGUF: Final = ".gguf"
LENGTH: Final = 128
PARTS: Final = 999
NO_HEAD: Final = frozenset({400, 403, 405, 501})
"""What servers answer to HEAD that would answer GET, signed addresses among them."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_PART = re.compile(r"(?P<stem>.+)-(?P<at>\d{5})-of-(?P<of>\d{5})\Z", re.ASCII)
_RANGE = re.compile(r"bytes 0-0/(\d{1,18})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a server says of a file: bytes (0: unknown), version and sha256 ("": unknown)."""

    size: int
    etag: str
    sha256: str


class Web:
    """See ``base.Source``. The locator of an asset is its URL."""

    def parse(self, text: str) -> Ref:
        address, _, fragment = text.partition("#")
        url = urls.parse(address)
        path = unquote(url.target.partition("?")[0])
        name = name_of(url.authority.replace("[", "").replace("]", ""), path)
        sha256 = pinned(fragment, path)
        return Ref(name, "web", f"{url}#sha256={sha256}" if sha256 else str(url), sha256)

    def find(self, ref: Ref, watch: Watch) -> Listing:
        address = ref.text.partition("#")[0]
        folder, slash, file = address.partition("?")[0].rpartition("/")
        query = address[len(folder + slash + file) :]
        with Client(watch) as client:
            found = [(one, f"{folder}/{one}{query}") for one in siblings(file)]
            assets, seen = [], []
            for one, url in found:
                told = _look(client, url, ref.text)
                seen.append(told)
                assets.append(Asset("model", file_name(unquote(one)), told.size, told.sha256, url))
        first = seen[0]
        if ref.sha256 and first.sha256 not in ("", ref.sha256):
            raise DigestMismatch(
                f"The source's file has the digest sha256:{first.sha256}, sha256:{ref.sha256} was expected.",
                hint="It is not the file you mean, or it was replaced.",
            )
        sha256 = first.sha256 or ref.sha256
        if len(assets) == 1 and sha256:
            assets = [Asset("model", assets[0].file, first.size, sha256, address)]
            return Listing(tuple(assets), f"{address}#sha256={sha256}", first.etag)
        return Listing(tuple(assets), ref.text, first.etag)

    def fetch(self, asset: Asset, folder: Path, watch: Watch) -> Got:
        with Client(watch) as client:
            return client.download(asset.locator, asset, folder)

    def missing(self, asset: Asset, folder: Path) -> int:
        return remaining(folder, asset)


def name_of(host: str, path: str) -> ModelName:
    """The name of a file by the path that leads to it: host, folders, stem. Raises Unsupported,
    InvalidName."""
    *folders, file = path.split("/")
    if not file.lower().endswith(GGUF) or len(file) == len(GGUF):
        raise Unsupported(
            "Only GGUF files can be pulled by their address.",
            hint="Name a file that ends in .gguf.",
            param="model",
        )
    stem = file[: -len(GGUF)]
    if part := _PART.match(stem):
        stem = part["stem"]
    namespace = _safe("-".join(folder for folder in folders if folder)) or "files"
    return ModelName.parse(f"{_host(host)}/{namespace}/{_safe(stem) or 'model'}:latest")


def pinned(fragment: str, path: str) -> str:
    """The digest of ``#sha256=…``, "" without one. Raises BadRequest."""
    if not fragment:
        return ""
    sha256 = fragment.removeprefix("sha256=").lower()
    if sha256 == fragment or not _SHA256.match(sha256):
        raise BadRequest(
            "After the # there must be sha256= and 64 hex digits.", hint="Or nothing.", param="model"
        )
    if len(siblings(path.rpartition("/")[2])) > 1:
        raise BadRequest(
            "A model in several files has no single digest.", hint="Leave #sha256= out.", param="model"
        )
    return sha256


def siblings(file: str) -> list[str]:
    """All files of the split set that one belongs to, in order; itself where there is none.

    Raises BadRequest where the set cannot be.
    """
    part = _PART.match(file[: -len(GGUF)])
    if part is None:
        return [file]
    count = int(part["of"])
    if not 1 <= int(part["at"]) <= count or count > PARTS:
        raise BadRequest("There is no such part of a split model.", param="model")
    end = file[-len(GGUF) :]
    return [f"{part['stem']}-{at:05d}-of-{part['of']}{end}" for at in range(1, count + 1)]


def file_name(text: str) -> str:
    """A file's name that can be one on any system."""
    stem = text.rpartition("/")[2][: -len(GGUF)]
    return (_safe(stem) or "model") + GGUF


def _safe(text: str) -> str:
    """As a part of a name; what is too long ends in a hash, so that two stay two."""
    found = re.sub(r"\.{2,}", ".", _UNSAFE.sub("-", text)).strip("-._")
    if len(found) > LENGTH:
        found = f"{found[: LENGTH - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return found


def _host(text: str) -> str:
    name, colon, port = text.rpartition(":")
    if ":" in name or not port.isdigit():  # an IPv6 address
        return text.replace("::", "-").replace(":", "-").strip("-") or "ipv6"
    return name + colon + port


def _look(client: Client, url: str, text: str) -> Seen:
    reply = client.ask("HEAD", url)
    size = reply.headers.get("content-length", "") if reply.status == 200 else ""
    if reply.status in NO_HEAD:
        reply = client.ask("GET", url, headers={"Range": "bytes=0-0"}, limit=1)
        part = _RANGE.match(reply.headers.get("content-range", ""))
        size = part[1] if part else ""
    if reply.status in (404, 410):
        raise ModelNotFound(text)
    if reply.status not in (200, 206):
        raise SourceFailed(
            f"The source refused the file (HTTP {reply.status}).",
            hint="It may need a token, which this kind of source has not."
            if reply.status in (401, 403)
            else "Check the address.",
            detail=reply.url.partition("?")[0],
        )
    known = size.isascii() and size.isdigit() and "content-encoding" not in reply.headers
    return Seen(int(size) if known else 0, reply.headers.get("etag", ""), digest_of(reply))


def digest_of(reply: Reply) -> str:
    """The sha256 that an answer tells of the whole file, 64 hex, "" if none.

    RFC 9530 (Repr-Digest, Content-Digest), RFC 3230 (Digest), X-Linked-Etag as at Hugging Face, and
    S3's x-amz-checksum-sha256 unless it is one of checksums.
    """
    linked = reply.headers.get("x-linked-etag", "").removeprefix("W/").strip('"')
    if _SHA256.match(linked):
        return linked
    fields = ["repr-digest", "digest"] + ["content-digest"] * (reply.status == 200)
    texts = [reply.headers.get(field, "") for field in fields]
    found = [re.search(r"(?i)\bsha-256=:?([A-Za-z0-9+/]{43}=)", text) for text in texts]
    told = [match[1] for match in found if match] + [reply.headers.get("x-amz-checksum-sha256", "")]
    for text in told:
        try:
            raw = base64.b64decode(text, validate=True)
        except binascii.Error:
            continue
        if len(raw) == 32:
            return raw.hex()
    return ""
