"""Source texts of registries, parsed once.

    ollama:[namespace/]model[:tag]          Ollama's own registry
    ollama.com/library/model[:tag]          the same, as its pages show it
    host[:port]/repository[:tag]            any registry; pushed to in Ollama's form
    ollama:host[:port]/repository[:tag]     the same, where the host alone would mean something else
    oci://host[:port]/repository[:tag]      any registry; pushed to as a ModelPack
    docker://[host[:port]/]repository[:tag] the same; without a host Docker Hub

Each may end in ``@sha256:<64 hex>``, which pins the manifest. The default tag is ``latest``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from ...core.errors import InhouseError, InvalidName
from ...core.models import DEFAULT_NAMESPACE, DEFAULT_TAG, ModelName
from ..layout import digest_hex

Dialect = Literal["ollama", "oci"]

OLLAMA_HOST: Final = "registry.ollama.ai"
DOCKER_HOST: Final = "docker.io"
_OLLAMA_ALIASES: Final = frozenset({"ollama.com", "www.ollama.com", "ollama.ai", OLLAMA_HOST})
_DOCKER_ALIASES: Final = frozenset({"index.docker.io", "registry-1.docker.io", "www.docker.io", DOCKER_HOST})
_OTHERS: Final = frozenset({"hf.co", "huggingface.co", "modelscope.cn"})
"""Hosts that sources of their own answer for; as registries they are written after ``ollama:``."""
_SHORT_DIGEST: Final = 12
_HINT: Final = "Write ollama:name:tag, host/namespace/model:tag or oci://host/repository:tag."


@dataclass(frozen=True, slots=True)
class Place:
    """A manifest in a registry.

    ``host`` as in names (``docker.io``, not the machine that answers for it), ``repository`` with its
    folders, ``digest`` ``sha256:<hex>`` or "". ``dialect``: the form that a push to it takes.
    ``name``: what the model is stored as.
    """

    dialect: Dialect
    host: str
    repository: str
    tag: str
    digest: str
    name: ModelName

    @property
    def text(self) -> str:
        """The canonical source text; parses to the same Place."""
        tag = f":{self.tag}" if self.tag else ""
        end = f"{tag}@{self.digest}" if self.digest else tag
        if self.dialect == "oci":
            return f"oci://{self.host}/{self.repository}{end}"
        if self.host == OLLAMA_HOST:
            return f"ollama:{self.repository.removeprefix(f'{DEFAULT_NAMESPACE}/')}{end}"
        prefix = "" if "/" in self.repository and self.host not in _OTHERS else "ollama:"
        return f"{prefix}{self.host}/{self.repository}{end}"

    @property
    def reference(self) -> str:
        """What stands for the manifest in a request: its digest where it is known, else the tag."""
        return self.digest or self.tag

    def pinned(self, digest: str) -> Place:
        """The same place with its manifest's digest. ``digest``: ``sha256:<hex>``."""
        return Place(self.dialect, self.host, self.repository, self.tag, digest, self.name)


def is_machine(host: str) -> bool:
    """Whether the first part of a name is a machine and not a namespace."""
    return "." in host or ":" in host or host.lower() == "localhost"


def is_text(text: str) -> bool:
    """Whether a source text names a place in a registry, and not another kind of source."""
    folded = text.lower()
    host, slash, rest = text.partition("/")
    machine = bool(slash) and "/" in rest and is_machine(host) and "://" not in text
    return folded.startswith(("ollama:", "oci://", "docker://")) or (machine and _host(host) not in _OTHERS)


def _invalid(text: str) -> InvalidName:
    shown = text[:80].encode("ascii", "backslashreplace").decode()
    return InvalidName(f"invalid model name: {shown}", hint=_HINT, param="model")


def _front(text: str) -> tuple[Dialect, str, str]:
    """Dialect, host and the rest of a text."""
    folded = text.lower()
    for prefix in ("oci://", "docker://"):
        if folded.startswith(prefix):
            rest = text[len(prefix) :]
            host, slash, path = rest.partition("/")
            if slash and is_machine(host):
                return "oci", host, path
            if prefix == "oci://":
                raise _invalid(text)
            return "oci", DOCKER_HOST, rest
    rest = text[len("ollama:") :] if folded.startswith("ollama:") else text.removeprefix("https://")
    host, slash, path = rest.partition("/")
    if slash and is_machine(host):
        return "ollama", host, path
    return "ollama", OLLAMA_HOST, rest


def _host(host: str) -> str:
    """The one spelling of a host."""
    folded = host.lower()
    if folded in _OLLAMA_ALIASES:
        return OLLAMA_HOST
    return DOCKER_HOST if folded in _DOCKER_ALIASES else folded


def parse(text: str) -> Place:
    """A source text as a Place. Raises InvalidName; the message echoes at most 80 characters."""
    dialect, host, path = _front(text)
    host = _host(host)
    path, at, digest = path.partition("@")
    *folders, last = path.split("/")
    model, colon, tag = last.partition(":")
    if (colon and not tag) or (at and not digest) or not all((*folders, model)):
        raise _invalid(text)
    if at:
        try:
            digest = f"sha256:{digest_hex(digest)}"
        except InhouseError as error:
            raise _invalid(text) from error
    short = f"sha256-{digest_hex(digest)[:_SHORT_DIGEST]}" if digest else DEFAULT_TAG
    named_tag = tag or short
    if not folders and host in (OLLAMA_HOST, DOCKER_HOST):
        folders = [DEFAULT_NAMESPACE]
    namespace = "/".join(folders) or DEFAULT_NAMESPACE
    try:
        name = ModelName.parse(f"{host}/{namespace}/{model}:{named_tag}")
    except InvalidName as error:
        raise InvalidName(error.message, hint=_HINT, param="model") from error
    sent_tag = tag or ("" if digest else DEFAULT_TAG)
    return Place(dialect, host, "/".join((*folders, model)), sent_tag, digest, name)
