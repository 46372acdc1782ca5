"""Ollama's managing routes: what they take and what they show. All data is passed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ...core.create import COMPATIBLE, OPTIONS, option
from ...core.errors import BadRequest, InhouseError, InvalidName
from ...core.models import Card, ModelName
from ..wire import dumps
from .errors import advice_of, error_text
from .requests import read_body, read_model
from .times import FOREVER, stamp

_LONG = 16  # arrays of GGUF metadata longer than this are null unless verbose
_HIDDEN = ("general.name", "tokenizer.chat_template")
_SHOWN_CAPABILITIES = (
    "completion",
    "tools",
    "insert",
    "vision",
    "audio",
    "embedding",
    "rerank",
    "thinking",
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory. ``expires_at`` None is for ever; ``extra`` are fields of our own."""

    card: Card
    expires_at: datetime | None
    size: int
    size_vram: int
    context_length: int
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PullOrder:
    """``insecure``: plain HTTP is accepted. Our own: ``fresh`` asks the source even where another
    program has a copy, ``embedded_template`` prefers the template inside the weights."""

    model: str
    stream: bool
    insecure: bool = False
    fresh: bool = False
    embedded_template: bool = False


@dataclass(frozen=True, slots=True)
class ShowOrder:
    """``system`` and ``options`` are shown as if the model had them, ``called`` as its base name."""

    model: str
    verbose: bool
    system: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    called: str = ""


def decode_name(body: bytes) -> str:
    """The model's name in bodies of delete, stop and the like. Raises BadRequest."""
    return read_model(read_body(body))


def decode_show(body: bytes) -> ShowOrder:
    """POST /api/show. Raises BadRequest."""
    fields = read_body(body)
    given = fields.object("options") or {}
    options = {name: option(name, value) for name, value in given.items() if name in OPTIONS}
    return ShowOrder(read_model(fields), fields.flag("verbose", False), fields.text("system") or "", options)


def decode_copy(body: bytes) -> tuple[str, str]:
    """POST /api/copy: source and destination. Raises BadRequest."""
    fields = read_body(body)
    for name in ("source", "destination"):
        if not fields.text(name):
            raise BadRequest(f'{name} "" is invalid', param=name)
    source, destination = fields.required_text("source"), fields.required_text("destination")
    try:
        ModelName.parse(destination)
    except InvalidName as error:
        shown = destination[:80].encode("ascii", "backslashreplace").decode()
        raise BadRequest(f'destination "{shown}" is invalid', param="destination") from error
    return source, destination


def decode_pull(body: bytes) -> PullOrder:
    """POST /api/pull. Raises BadRequest."""
    fields = read_body(body)
    return PullOrder(
        read_model(fields),
        fields.flag("stream", True),
        fields.flag("insecure", False),
        fields.flag("fresh", False),
        fields.flag("use_embedded_template", False),
    )


def _capabilities(card: Card) -> list[str]:
    return [name for name in _SHOWN_CAPABILITIES if name in card.capabilities]


def _details(card: Card) -> dict[str, Any]:
    return {
        "parent_model": card.parent,
        "format": card.format,
        "family": card.family,
        "families": [card.family] if card.family else [],
        "parameter_size": card.parameter_size,
        "quantization_level": card.quantization,
        "context_length": card.context_length,
        "embedding_length": card.embedding_length,
    }


def _listed(card: Card) -> dict[str, Any]:
    return {
        "name": str(card.name),
        "model": str(card.name),
        "size": card.size,
        "digest": card.digest,
        "details": _details(card),
    }


def _origin(card: Card, *, paths: bool) -> str:
    """Where a model came from. Only the user of the machine learns where its files lie."""
    is_path = card.origin.startswith(("/", "\\", "file:")) or card.origin[1:3] in (":\\", ":/")
    return "a file of the server's machine" if is_path and not paths else card.origin


def _own(card: Card, *, paths: bool) -> dict[str, Any]:
    """Fields of our own, where they say something."""
    extra: dict[str, Any] = {"origin": _origin(card, paths=paths)} if card.origin else {}
    if card.alias_of:
        extra["alias_of"] = card.alias_of
    if card.labels:
        extra["labels"] = list(card.labels)
    if any(file.in_place for file in card.files):
        extra["in_place"] = True
    return extra


def render_version(version: str, builds: Mapping[str, str]) -> bytes:
    """GET /api/version. ``version`` there is the Ollama that is followed, since clients hold theirs
    against it and refuse an older server; ours is beside it, and so are the ``builds`` in use."""
    return dumps({"version": ".".join(map(str, COMPATIBLE)), "inhouse": version, **builds})


def render_tags(cards: Iterable[Card], *, paths: bool = False) -> bytes:
    """GET /api/tags: newest first. ``paths``: who asks may know where files lie."""
    newest = sorted(cards, key=lambda card: card.modified_at, reverse=True)
    models = [
        {
            **_listed(c),
            "modified_at": stamp(c.modified_at),
            "capabilities": _capabilities(c),
            **_own(c, paths=paths),
        }
        for c in newest
    ]
    return dumps({"models": models})


def render_ps(loaded: Iterable[Loaded]) -> bytes:
    """GET /api/ps: the one that stays longest first."""
    last = datetime.max.replace(tzinfo=UTC)
    longest = sorted(loaded, key=lambda one: one.expires_at or last, reverse=True)
    models = [
        {
            **one.extra,
            **_listed(one.card),
            "expires_at": FOREVER if one.expires_at is None else stamp(one.expires_at),
            "size": one.size,
            "size_vram": one.size_vram,
            "context_length": one.context_length,
        }
        for one in longest
    ]
    return dumps({"models": models})


def render_show(
    card: Card,
    *,
    verbose: bool = False,
    modelfile: str = "",
    parameters: str = "",
    tensors: Iterable[Mapping[str, Any]] = (),
    paths: bool = False,
) -> bytes:
    """POST /api/show. Long arrays of the metadata are null unless ``verbose``."""
    info = {name: value for name, value in card.metadata.items() if name not in _HIDDEN}
    if not verbose:
        info = {name: None if _is_long(value) else value for name, value in info.items()}
    return dumps(
        {
            "license": card.licence,
            "modelfile": modelfile,
            "parameters": parameters,
            "template": card.template,
            "system": card.system,
            "details": _details(card),
            "model_info": info,
            "tensors": [dict(tensor) for tensor in tensors],
            "capabilities": _capabilities(card),
            "modified_at": stamp(card.modified_at),
            **_described(card, paths=paths),
        }
    )


def _described(card: Card, *, paths: bool) -> dict[str, Any]:
    """Where it comes from and what it is made of; paths stay inside."""
    shown: dict[str, Any] = {**_own(card, paths=paths), "digest": card.digest, "vocabulary": card.vocabulary}
    if card.messages:
        shown["messages"] = [{"role": role, "content": content} for role, content in card.messages]
    if card.projector_metadata:
        shown["projector_info"] = dict(card.projector_metadata)
    shown["files"] = [
        {"role": f.role, "file": f.file, "digest": f.digest, "size": f.size, "in_place": f.in_place}
        for f in card.files
    ]
    if card.revision:
        shown["revision"] = card.revision
    return shown


def _is_long(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > _LONG


class PullEncoder:
    """Progress of a pull: a line for each step, or only the last one when not streaming."""

    def __init__(self, *, stream: bool = True) -> None:
        self.streaming = stream
        self.media_type = "application/x-ndjson" if stream else "application/json"
        self._last = b""

    def feed(
        self,
        status: str,
        digest: str | None = None,
        total: int | None = None,
        completed: int | None = None,
        result: Any = None,
    ) -> bytes:
        """One step. ``total`` and ``completed`` are bytes of the layer ``digest`` (``sha256:...``);
        ``result`` is a field of our own."""
        step = {
            "status": status,
            "digest": digest,
            "total": total,
            "completed": completed,
            "result": result,
        }
        self._last = dumps({name: value for name, value in step.items() if value is not None})
        return self._last + b"\n" if self.streaming else b""

    def finish(self) -> bytes:
        """The end: the last step when nothing was sent yet."""
        return b"" if self.streaming else self._last

    def fail(self, error: InhouseError) -> bytes:
        """The error as the last line."""
        advice = advice_of(error)
        line = {"error": error_text(error), **({"hint": advice} if advice else {})}
        return dumps(line) + (b"\n" if self.streaming else b"")
