"""Names and facts of models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import InvalidName

DEFAULT_HOST = "inhouse"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}\Z", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}\Z", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}(:[0-9]{1,5})?\Z", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class ModelName:
    """``[host/][namespace/]model[:tag]``, parsed once; compares case-insensitively once folded.

    Grammar: model and tag are 1..80 of ``A-Za-z0-9_.-``, first one alphanumeric; a namespace has no
    dot; a host may carry a port. Defaults: ``inhouse/library/…:latest``. The short form leaves the
    defaults out; the safe path is four folders, lower case.
    """

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Parse a name. Raises InvalidName; the message never echoes more than 80 characters."""
        shown = text[:80].encode("ascii", "backslashreplace").decode()
        bad = InvalidName(
            f"invalid model name: {shown}",
            hint="Names look like smollm2, qwen2.5-coder:0.5b or host/namespace/model:tag.",
            param="model",
        )
        if len(text) > 500:
            raise bad
        *front, last = text.split("/")
        model, colon, tag = last.partition(":")
        if len(front) > 2 or (colon and not tag):
            raise bad
        namespace = front[-1] if front else DEFAULT_NAMESPACE
        host = front[0] if len(front) == 2 else DEFAULT_HOST
        name = cls(host, namespace, model, tag or DEFAULT_TAG)
        if not name._valid():
            raise bad
        return name

    def _valid(self) -> bool:
        return bool(
            _HOST.match(self.host)
            and _NAMESPACE.match(self.namespace)
            and _PART.match(self.model)
            and _PART.match(self.tag)
            and ".." not in self.host + self.model + self.tag
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
        return (host.replace(":", "+"), namespace, model, tag)


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes: ``weights`` resident, ``kv_per_token`` of f16 KV cache for one token of one slot."""

    weights: int
    kv_per_token: int


@dataclass(frozen=True, slots=True)
class Card:
    """All the control plane knows of one model; made once, when the model comes in.

    ``digest`` is 64 hex of the manifest, ``weights`` the path of the file handed to an engine.
    ``capabilities``: completion, chat, tools, insert, vision, embedding, thinking.
    ``control_tokens``: texts that the tokenizer would read as control tokens.
    ``defaults``: options of the model itself (temperature, stop ...), named as in Ollama's options.
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
    control_tokens: tuple[str, ...] = ()
    licence: str = ""
    system: str = ""
    origin: str = ""
    modified_at: float = 0.0
    defaults: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parameter_size(self) -> str:
        """``134.52M``, ``1.8B``: as Ollama prints it."""
        n = self.parameters
        for unit, one in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
            if n >= one:
                return f"{n / one:.2f}{unit}" if unit == "M" else f"{n / one:.1f}{unit}"
        return str(n)
