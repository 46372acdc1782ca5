"""Names and facts of models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .errors import InvalidName

DEFAULT_HOST: Final = "inhouse"
DEFAULT_NAMESPACE: Final = "library"
DEFAULT_TAG: Final = "latest"
LENGTH: Final = 500
NAMESPACE_LENGTH: Final = 200

SPECULATIVE: Final = (
    "auto", "none", "ngram", "ngram-map-k", "ngram-map-k4v", "ngram-mod", "ngram-cache", "draft", "mtp",
)  # fmt: skip
"""Ways of guessing tokens that a model or a setting may name; ``engines.speculation`` explains them."""

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}(:[0-9]{1,5})?\Z", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class ModelName:
    """``[[host/]namespace/]model[:tag]``, parsed once; compares case-insensitively once folded.

    Grammar: namespace, model and tag are 1..128 of ``A-Za-z0-9_.-``, the first one alphanumeric and
    never two dots in a row; with a host (which may carry a port) the namespace may have several such
    parts, ``/`` between them, 200 characters in all. Defaults: ``inhouse/library/…:latest``. The short
    form leaves the defaults out; the safe path is four folders, lower case.
    """

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Parse a name. Raises InvalidName; the message never echoes more than 80 characters."""
        *front, last = text[: LENGTH + 1].split("/")
        model, colon, tag = last.partition(":")
        namespace = "/".join(front[-1:] if len(front) < 2 else front[1:]) if front else DEFAULT_NAMESPACE
        host = front[0] if len(front) > 1 else DEFAULT_HOST
        name = cls(host, namespace, model, tag or DEFAULT_TAG)
        if len(text) > LENGTH or (colon and not tag) or not name._valid():
            shown = text[:80].encode("ascii", "backslashreplace").decode()
            raise InvalidName(
                f"invalid model name: {shown}",
                hint="Names look like smollm2, qwen2.5-coder:0.5b or host/namespace/model:tag.",
                param="model",
            )
        return name

    def _valid(self) -> bool:
        parts = (*self.namespace.split("/"), self.model, self.tag)
        return bool(
            _HOST.match(self.host)
            and all(_PART.match(part) for part in parts)
            and not any(".." in part for part in (self.host, *parts))
            and len(self.namespace) <= NAMESPACE_LENGTH
        )

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What two names are compared by: folded to lower case."""
        return (self.host.lower(), self.namespace.lower(), self.model.lower(), self.tag.lower())

    def __str__(self) -> str:
        """The full short form, always with its tag: ``smollm2:latest``."""
        front = ""
        if self.host != DEFAULT_HOST:
            front = f"{self.host}/{self.namespace}/"
        elif self.namespace != DEFAULT_NAMESPACE:
            front = f"{self.namespace}/"
        return f"{front}{self.model}:{self.tag}"

    def path_parts(self) -> tuple[str, str, str, str]:
        """Four safe, lower-case folder names; the only way a name becomes a path."""
        host, namespace, model, tag = self.key
        return (host.replace(":", "+"), namespace.replace("/", "+"), model, tag)


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes: ``weights`` resident, ``kv_per_token`` of f16 KV cache for one token of one slot."""

    weights: int
    kv_per_token: int


@dataclass(frozen=True, slots=True)
class CardFile:
    """One file of a model. ``role``: model, projector, adapter, draft, weights (safetensors) or config.

    ``path`` is where it lies, ``file`` what it is called, ``digest`` ``sha256:<hex>``, ``size`` in
    bytes; ``scale`` that of an adapter. ``in_place``: it belongs to somebody else.
    """

    role: str
    path: str
    file: str
    digest: str
    size: int
    scale: float = 1.0
    in_place: bool = False


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a model asks to be run; None or "" leave it to the server's settings.

    ``context_length`` tokens per slot, ``keep_alive`` seconds (``inf``: for ever), ``gpu_layers`` -1 is
    all. ``kv_cache_type``: f16, q8_0 or q4_0. ``engine``: a name as in the setting ``engine.kind``.
    ``speculative``: how tokens are guessed, as in the setting ``engine.speculative``.
    """

    engine: str = ""
    context_length: int | None = None
    slots: int | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    kv_cache_type: str = ""
    keep_alive: float | None = None
    speculative: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """All the control plane knows of one model; made once, when the model comes in.

    ``digest`` is 64 hex of the manifest, ``weights`` the path handed to an engine (the first part of a
    split model, the folder of a safetensors one), ``files`` everything it is made of, ``size`` the
    bytes of all of them. ``capabilities``: completion, chat, tools, insert, vision, audio, embedding,
    rerank, thinking. ``control_tokens``: texts that the tokenizer would read as control tokens. ``template``
    is Jinja; ``own_template`` says that it replaces the one inside the weights.
    ``defaults``: options of the model itself (temperature, stop ...), named as in Ollama's options.
    ``messages``: (role, content) that every chat begins with. ``labels``: tags for policies.
    ``alias_of``: the model that this name follows.
    """

    name: ModelName
    digest: str
    weights: str
    weights_digest: str
    size: int
    footprint: Footprint
    capabilities: frozenset[str] = frozenset({"completion"})
    format: str = "gguf"
    family: str = ""
    parameters: int = 0
    quantization: str = ""
    context_length: int = 0
    embedding_length: int = 0
    vocabulary: int = 0
    template: str = ""
    own_template: bool = False
    control_tokens: tuple[str, ...] = ()
    licence: str = ""
    system: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    origin: str = ""
    revision: str = ""
    parent: str = ""
    modified_at: float = 0.0
    defaults: Mapping[str, Any] = field(default_factory=dict)
    tuning: Tuning = field(default_factory=Tuning)
    labels: tuple[str, ...] = ()
    alias_of: str = ""
    files: tuple[CardFile, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    projector_metadata: Mapping[str, Any] = field(default_factory=dict)

    def of_role(self, role: str) -> tuple[CardFile, ...]:
        """The files of one role, in order."""
        return tuple(file for file in self.files if file.role == role)

    @property
    def parameter_size(self) -> str:
        """``134.52M``, ``1.8B``: as Ollama prints it."""
        n = self.parameters
        for unit, one in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
            if n >= one:
                return f"{n / one:.2f}{unit}" if unit == "M" else f"{n / one:.1f}{unit}"
        return str(n)
