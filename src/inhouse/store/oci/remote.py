"""One repository of one registry, asked over HTTP. Protocol: the OCI distribution specification.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from ...core.errors import DigestMismatch, InhouseError, ModelNotFound, SourceFailed
from ...net import Client, Reply
from ..layout import digest_hex
from ..sources.base import Asset, Got, Watch
from . import manifest, media, names
from .access import PUBLIC_LIFE, Access, Action, Keys, origin
from .manifest import Descriptor
from .names import Place
from .settings import Settings

_DOCKER_REQUESTS: Final = "registry-1.docker.io"
_RENEWALS: Final = 200
"""Tokens that one download may use up."""

Send = Callable[[Mapping[str, str]], Reply]


def base_url(place: Place, settings: Settings, *, insecure: bool) -> str:
    """Where the registry of a place answers: a URL without a slash at its end.

    Plain HTTP on loopback, with ``--insecure``, and for a mirror that is set so.
    """
    if place.host == names.OLLAMA_HOST and settings.mirror:
        return settings.mirror
    machine = _DOCKER_REQUESTS if place.host == names.DOCKER_HOST else place.host
    return f"{'http' if insecure or is_loopback(machine) else 'https'}://{machine}"


def is_loopback(machine: str) -> bool:
    """Whether ``host[:port]`` is this machine by its name or address."""
    host = machine.rpartition(":")[0] or machine
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class Remote:
    """A repository. Blocking; close it when done. ``keys`` outlives it and remembers tokens.

    Methods raise ModelNotFound, SourceFailed, DigestMismatch, Forbidden, Cancelled.
    """

    def __init__(
        self, place: Place, action: Action, settings: Settings, watch: Watch, keys: Keys | None = None
    ) -> None:
        self.place = place
        self.watch = watch
        self.base = base_url(place, settings, insecure=watch.insecure)
        self.client = Client(watch, own_hosts=settings.own_hosts, pause=settings.pause)
        self._action = action
        self._keys = keys or Keys()
        machine = urlsplit(self.base).netloc
        private = (
            self.base.startswith("https:")
            or self.base == settings.mirror
            or is_loopback(machine)
            or watch.trusted
        )
        self._access = Access(self.base, place.repository, action, settings, self._get, private=private)
        self._secret = self._keys.get(self.base, place.repository, action) or self._access.given

    def close(self) -> None:
        self.client.close()

    def url(self, *parts: str) -> str:
        """``<base>/v2/<repository>/<parts>``."""
        return "/".join((self.base, "v2", quote(self.place.repository, safe="/"), *parts))

    def _get(self, url: str, headers: Mapping[str, str]) -> Reply:
        return self.client.ask("GET", url, headers=headers, limit=2**18)

    def authorized(self, send: Send) -> Reply:
        """Send with what opens this repository, asking for a token when it is demanded."""
        reply = send(self._headers())
        if reply.status != 401:
            return reply
        for value, life in self._access.answers(reply):
            reply = send({"Authorization": value})
            if reply.status not in (401, 403):
                self._secret = value
                self._keys.put(self.base, self.place.repository, self._action, value, life)
                return reply
        return reply

    def _headers(self) -> dict[str, str]:
        return {"Authorization": self._secret} if self._secret else {}

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int = 2**20,
    ) -> Reply:
        """A small request with access; the caller looks at the status."""

        def send(secret: Mapping[str, str]) -> Reply:
            return self.client.ask(method, url, headers={**(headers or {}), **secret}, body=body, limit=limit)

        return self.authorized(send)

    def manifest(self, reference: str) -> tuple[bytes, str]:
        """A manifest's bytes and digest. ``reference``: a tag or ``sha256:<hex>``, which is verified."""
        url = self.url("manifests", quote(reference, safe=":"))
        reply = self.ask("GET", url, headers={"Accept": media.ACCEPT}, limit=manifest.CEILING)
        self.demand(reply, 200)
        digest = "sha256:" + hashlib.sha256(reply.body).hexdigest()
        pinned = reference if reference.startswith("sha256:") else ""
        said = reply.headers.get("docker-content-digest", "").strip()
        for promised in (pinned, said):
            if promised.startswith("sha256:") and promised != digest:
                shown = promised if _is_digest(promised) else "something else"
                raise DigestMismatch(
                    f"The manifest has the digest {digest}, {shown} was promised.",
                    hint="Nothing was kept. Try again; if it stays so, the registry is broken.",
                )
        self._remember()
        return reply.body, digest

    def small(self, blob: Descriptor, ceiling: int) -> bytes:
        """A small blob, verified. ``ceiling``: bytes it may have."""
        if blob.size > ceiling:
            raise manifest.bad(f"the text layer sha256:{blob.hex[:12]}… is larger than {ceiling} bytes")
        reply = self.ask("GET", self.url("blobs", blob.digest), limit=ceiling)
        self.demand(reply, 200)
        found = hashlib.sha256(reply.body).hexdigest()
        if found != blob.hex or len(reply.body) != blob.size:
            raise DigestMismatch(
                f"A layer has the digest sha256:{found} and {len(reply.body)} bytes, "
                f"sha256:{blob.hex} and {blob.size} bytes were promised.",
                hint="Nothing was kept. Try again; if it stays so, the registry is broken.",
            )
        return reply.body

    def has(self, digest: str) -> bool:
        """Whether the repository holds a blob."""
        reply = self.ask("HEAD", self.url("blobs", digest))
        if reply.status == 404:
            return False
        if reply.status in (401, 403) and origin(reply.url) == origin(self.base):
            self.demand(reply, 200)
        return reply.status == 200

    def download(self, asset: Asset, folder: Path) -> Got:
        """Bring a blob. A token that runs out on the way is renewed; what is there is resumed."""
        url = self.url("blobs", f"sha256:{asset.sha256}")
        if self._keys.get(self.base, self.place.repository, self._action) is None:
            self._knock(url)
        for _ in range(_RENEWALS):
            try:
                return self.client.download(url, asset, folder, headers=self._headers())
            except SourceFailed:
                before = self._secret
                if before:
                    self._knock(url)
                if self._secret == before:
                    raise
        raise SourceFailed("The registry's tokens run out too soon for this download.", hint="Try again.")

    def _knock(self, url: str) -> None:
        """Find out whether a (new) token is needed. Where the bytes lie may refuse a HEAD: no matter."""
        reply = self.ask("HEAD", url)
        if reply.status in (401, 403) and origin(reply.url) == origin(self.base):
            self.demand(reply, 200)
        self._remember()

    def _remember(self) -> None:
        """What was sent was accepted."""
        if self._keys.get(self.base, self.place.repository, self._action) is None:
            self._keys.put(self.base, self.place.repository, self._action, self._secret, PUBLIC_LIFE)

    def demand(self, reply: Reply, *statuses: int) -> None:
        """Raises what an answer means that has none of these statuses."""
        if reply.status in statuses:
            return
        raise self._failure(reply)

    def _failure(self, reply: Reply) -> InhouseError:
        detail = f"{self.base}: HTTP {reply.status}: {reply.body[:300]!r}"
        if reply.status == 404:
            error = ModelNotFound(str(self.place.name))
            error.hint = "Check the name and the tag at its registry."
            error.detail = detail
            return error
        if reply.status in (401, 403):
            return SourceFailed(
                "The registry refuses: the model does not exist, or is not for this user.",
                hint="Check the name. For a private one: docker login, or set INHOUSE_REGISTRY_TOKEN.",
                detail=detail,
            )
        return SourceFailed(
            f"The registry answered HTTP {reply.status}.", hint="Try again later.", detail=detail
        )


def _is_digest(text: str) -> bool:
    try:
        return bool(digest_hex(text))
    except InhouseError:
        return False
