"""What makes a model: the words that model files, ``/api/create`` and the store share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .models import Tuning


@dataclass(frozen=True, slots=True)
class FileRef:
    """One file that a model is made from.

    ``file`` is what it is called, for a set of safetensors its relative name with ``/``. ``digest`` is
    ``sha256:<64 hex>`` of an uploaded blob; ``path`` a place on this machine, a file or the folder of a
    safetensors set (the reader of a request decides whether its sender may name one). Exactly one of the
    two is set. ``scale`` is that of an adapter.
    """

    file: str
    digest: str = ""
    path: str = ""
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """One order to make a model. None, ``""`` and empty tuples: what the base has stays.

    ``name`` is what to make. ``base`` is a model name or a source text, ``files`` weights instead of it
    (a GGUF, the parts of a split one, a projector, or safetensors with their configuration).
    ``draft`` or ``draft_model`` names the model that guesses ahead. ``template`` is as written, Go or
    Jinja; ``use_embedded_template`` asks for the one inside the weights and excludes ``template``.
    ``licence`` is added to the base's, ``parameters`` (options named and typed as Ollama's; ``stop`` is a
    tuple) win over the base's one by one, ``messages``, ``system``, ``adapters`` and ``labels`` replace
    the base's. ``aliases`` are further names for the result. ``quantize`` is a type as llama.cpp names it
    and ``imatrix`` the importance matrix for it.
    """

    name: str
    base: str = ""
    files: tuple[FileRef, ...] = ()
    adapters: tuple[FileRef, ...] = ()
    projector: FileRef | None = None
    draft: FileRef | None = None
    draft_model: str = ""
    template: str | None = None
    use_embedded_template: bool = False
    system: str | None = None
    licence: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[tuple[str, str], ...] | None = None
    tuning: Tuning = field(default_factory=Tuning)
    labels: tuple[str, ...] | None = None
    aliases: tuple[str, ...] = ()
    quantize: str = ""
    imatrix: FileRef | None = None
