"""What makes a model: the words that model files, ``/api/create`` and the store share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .errors import BadRequest, Unsupported
from .models import Tuning

OPTIONS: Final[Mapping[str, type]] = {
    "num_ctx": int,
    "num_batch": int,
    "num_gpu": int,
    "main_gpu": int,
    "use_mmap": bool,
    "num_thread": int,
    "draft_num_predict": int,
    "num_keep": int,
    "seed": int,
    "num_predict": int,
    "top_k": int,
    "top_p": float,
    "min_p": float,
    "typical_p": float,
    "repeat_last_n": int,
    "temperature": float,
    "repeat_penalty": float,
    "presence_penalty": float,
    "frequency_penalty": float,
    "stop": str,
}
"""Ollama's options by name with their types; ``stop`` is the one that may be said several times."""

RETIRED: Final = frozenset(
    {
        "embedding_only",
        "f16_kv",
        "logits_all",
        "low_vram",
        "mirostat",
        "mirostat_eta",
        "mirostat_tau",
        "numa",
        "penalize_newline",
        "tfs_z",
        "use_mlock",
        "vocab_only",
    }
)
"""Options that Ollama gave up; they are skipped with a word about it where a model is made."""

IDLE: Final[Mapping[str, str]] = {"num_keep": "nothing is ever cut out of a running context here"}
"""Options that are kept and change nothing, each with the reason."""

MESSAGE_ROLES: Final = ("system", "user", "assistant")
COMPATIBLE: Final = (0, 33, 0)
"""The Ollama whose model files and ``/api/create`` are followed: ``requires`` may ask for it at most."""

_SEMVER: Final = re.compile(
    r"v?(0|[1-9]\d*)(?:\.(0|[1-9]\d*))?(?:\.(0|[1-9]\d*))?(?:[-+][0-9A-Za-z.+-]+)?\Z", re.A
)


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
    """One order to make a model. What it leaves out (None, no ``base``, an empty tuple) stays as in the base.

    ``name`` is what to make. ``base`` is a model name or a source text, ``files`` weights instead of it
    (a GGUF, the parts of a split one, a projector, or safetensors with their configuration).
    ``draft`` or ``draft_model`` names the model that guesses ahead. ``template`` is as written, Go or
    Jinja; ``use_embedded_template`` asks for the one inside the weights and excludes ``template``.
    ``licence`` is added to the base's, ``parameters`` (options named and typed as Ollama's; ``stop`` is a
    tuple) win over the base's one by one; ``messages``, ``system``, ``adapters`` and ``labels`` replace
    the base's, and an empty ``system``, ``messages`` or ``labels`` that is not None takes them away.
    ``aliases`` are further names for the result. ``quantize`` is a type as llama.cpp names it and
    ``imatrix`` the importance matrix for it.
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
    allow_requantize: bool = False


def option(name: str, value: Any) -> Any:
    """The value of a model's option in the type that it has; ``stop`` as a tuple of one or more.

    Takes values already typed, as JSON and TOML give them. Raises BadRequest for a name that is not an
    option, or a value of another type; Unsupported for ``main_gpu``.
    """
    kind = OPTIONS.get(name)
    param = f"parameters.{name[:40]}"
    if kind is None:
        shown = name[:40] if name.isprintable() else "?"
        raise BadRequest(
            f"unknown parameter '{shown}'", hint="Options are named as in Ollama: temperature.", param=param
        )
    if name == "main_gpu":
        raise Unsupported(
            "parameter main_gpu is not supported here",
            hint="The engine spreads a model over the GPUs by itself.",
            param=param,
        )
    if kind is str:
        texts = (value,) if isinstance(value, str) else value
        if isinstance(texts, list | tuple) and all(isinstance(text, str) for text in texts):
            return tuple(texts)
        raise BadRequest(f'option "{name}" must be of type array', hint="Send a list of texts.", param=param)
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63
    if kind is float and number:
        return float(value)
    if kind is int and number and value == int(value):
        return int(value)
    if kind is bool and isinstance(value, bool):
        return value
    wanted = {int: "integer", float: "float32", bool: "boolean"}[kind]
    raise BadRequest(
        f'option "{name}" must be of type {wanted}',
        hint="The reference of the model file says what each takes.",
        param=param,
    )


def check_requires(version: str) -> None:
    """Whether a model that needs this version of Ollama can be made. Raises BadRequest, Unsupported."""
    found = _SEMVER.match(version)
    if len(version) > 80 or not found:
        raise BadRequest(
            "requires must be a valid semver (e.g. 0.14.0)", hint="It names a version.", param="requires"
        )
    if tuple(int(part or 0) for part in found.groups()) > COMPATIBLE:
        ours = ".".join(map(str, COMPATIBLE))
        raise Unsupported(
            f"this model asks for a newer Ollama than the {ours} that is followed here",
            hint="Leave 'requires' out if the model needs nothing of that version.",
            param="requires",
        )
