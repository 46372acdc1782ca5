"""POST /api/create and /api/push: bodies -> orders.

Beyond Ollama's fields, ours: ``projector``, ``imatrix`` ({name: digest}), ``draft_model``, ``engine``,
``labels``, ``aliases``, ``allow_requantize``, ``use_embedded_template``, an adapter as
``{"digest", "scale"}``, several adapters, an empty ``system``, ``messages`` or ``labels`` that takes the
base's away, and ``paths`` with absolute paths of the server's machine. Whether the sender may name paths is
the server's question: ``CreateOrder.local`` says that it did.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from ...core.create import MESSAGE_ROLES, RETIRED, Create, FileRef, check_requires, option
from ...core.errors import BadRequest
from ...core.models import SPECULATIVE, Tuning
from ..fields import INT32_MAX, Fields, check_number, check_text, wrong_value
from .requests import read_body, read_model

MAX_FILES = 2000
MAX_SCALE = 1000.0
_MAX_TEXTS = 200
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})\Z", re.ASCII)
_NOT_HERE = "It names code inside of Ollama; the model's own template says how prompts look."


@dataclass(frozen=True, slots=True)
class CreateOrder:
    """``local``: it names paths of this machine. ``noted`` are fields without effect."""

    create: Create
    stream: bool
    local: bool = False
    noted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PushOrder:
    """``insecure``: plain HTTP is accepted. Our own: ``target`` is where to, "" the model's own name."""

    model: str
    insecure: bool
    stream: bool
    target: str = ""


def decode_push(body: bytes) -> PushOrder:
    """POST /api/push. Raises BadRequest."""
    fields = read_body(body)
    model = read_model(fields)
    insecure, stream = fields.flag("insecure", False), fields.flag("stream", True)
    return PushOrder(model, insecure, stream, fields.text("target") or "")


def decode_create(body: bytes) -> CreateOrder:
    """POST /api/create. Raises BadRequest; Unsupported for what cannot be done here."""
    fields = read_body(body)
    name = read_model(fields)
    _refuse(fields)
    paths = fields.mapping("paths") or Fields({}, "paths")
    base = fields.text("from") or ""
    files = (*_digests(fields, "files"), *_paths(paths, "files"))
    if not base and not files:
        raise BadRequest(
            "neither 'from' or 'files' was specified", hint="Say what to build on.", param="from"
        )
    if base and files:
        raise BadRequest(
            "'from' and 'files' were both specified",
            hint="Build on a model or on files; adapters, projector and draft have fields of their own.",
            param="files",
        )
    template = fields.text("template") or None
    embedded = fields.flag("use_embedded_template", False)
    if template and embedded:
        wrong_value("use_embedded_template", "false beside a template")
    create = Create(
        name=name,
        base=base,
        files=files,
        adapters=(*_adapters(fields), *_local_adapters(paths)),
        projector=_one("projector", (*_digests(fields, "projector"), *_path(paths, "projector"))),
        draft=_one("draft_files", (*_digests(fields, "draft_files"), *_path(paths, "draft"))),
        draft_model=fields.text("draft_model") or "",
        template=template,
        use_embedded_template=embedded,
        system=fields.text("system"),
        licence=_licence(fields),
        parameters=_parameters(fields),
        messages=_messages(fields),
        tuning=_tuning(fields),
        labels=_texts(fields, "labels"),
        aliases=_texts(fields, "aliases") or (),
        quantize=fields.text("quantize", longest=40) or fields.text("quantization", longest=40) or "",
        imatrix=_one("imatrix", (*_digests(fields, "imatrix"), *_path(paths, "imatrix"))),
        allow_requantize=fields.flag("allow_requantize", False),
    )
    if create.draft and create.draft_model:
        wrong_value("draft_model", "nothing beside draft_files")
    if create.imatrix and not create.quantize:
        wrong_value("imatrix", "a type in quantize beside it")
    stream = fields.flag("stream", True)
    return CreateOrder(create, stream, fields.has("paths"), fields.noted())


def _refuse(fields: Fields) -> None:
    fields.refuse("renderer", "", why=_NOT_HERE)
    fields.refuse("parser", "", why=_NOT_HERE)
    fields.refuse("remote_host", "", why="Models of other servers are providers in the configuration.")
    fields.refuse("info", {}, why="What a model is gets read from its files.")
    fields.refuse("draft_quantize", "", why="Quantize the draft as a model of its own first.")
    requires = fields.text("requires")
    if requires:
        check_requires(requires)


def _digest(param: str, value: Any) -> str:
    """``sha256:<64 hex>`` of an uploaded blob, written with ``:`` or ``-``."""
    found = _DIGEST.match(check_text(param, value))
    if not found:
        raise BadRequest(
            "invalid digest format", hint="Upload the file first: POST /api/blobs/sha256:...", param=param
        )
    return f"sha256:{found.group(1).lower()}"


def _named(fields: Fields, field: str) -> Iterator[tuple[str, str, Any]]:
    """(param, file name, value) of an object by file names, which stay inside one folder."""
    files = fields.object(field) or {}
    if len(files) > MAX_FILES:
        wrong_value(fields.at(field), f"at most {MAX_FILES} files", len(files))
    for name, value in files.items():
        windows = PureWindowsPath(name)
        inside = not windows.drive and not windows.root and ".." not in windows.parts
        if not name or len(name) > 1000 or "\0" in name or not inside or name in (".", "./"):
            raise BadRequest("file path must be relative", hint="Send plain file names.", param=field)
        yield f"{field}.{name[:40]}", name.replace("\\", "/"), value


def _digests(fields: Fields, field: str) -> tuple[FileRef, ...]:
    return tuple(
        FileRef(file=name, digest=_digest(param, value)) for param, name, value in _named(fields, field)
    )


def _scale(param: str, value: Any) -> float:
    return 1.0 if value is None else check_number(param, value, -MAX_SCALE, MAX_SCALE)


def _adapters(fields: Fields) -> tuple[FileRef, ...]:
    out = []
    for param, name, value in _named(fields, "adapters"):
        scale = 1.0
        if isinstance(value, dict):
            scale, value = _scale(f"{param}.scale", value.get("scale")), value.get("digest")
        out.append(FileRef(file=name, digest=_digest(param, value), scale=scale))
    return tuple(out)


def _local(param: str, value: Any, scale: float = 1.0) -> FileRef:
    path = check_text(param, value)
    flavour = PureWindowsPath if PureWindowsPath(path).drive else PurePosixPath
    pure = flavour(path)
    if not pure.is_absolute() or "\0" in path or ".." in pure.parts:
        wrong_value(param, "an absolute path without '..'")
    return FileRef(file=pure.name, path=path, scale=scale)


def _path(paths: Fields, name: str) -> tuple[FileRef, ...]:
    value = paths.text(name)
    return (_local(paths.at(name), value),) if value else ()


def _paths(paths: Fields, name: str) -> tuple[FileRef, ...]:
    items = paths.items(name, MAX_FILES) or []
    return tuple(_local(f"{paths.at(name)}[{i}]", item) for i, item in enumerate(items))


def _local_adapters(paths: Fields) -> tuple[FileRef, ...]:
    out = []
    for i, item in enumerate(paths.items("adapters", MAX_FILES) or []):
        param, scale = f"{paths.at('adapters')}[{i}]", 1.0
        if isinstance(item, dict):
            scale, item = _scale(f"{param}.scale", item.get("scale")), item.get("path")
        out.append(_local(param, item, scale))
    return tuple(out)


def _one(param: str, files: tuple[FileRef, ...]) -> FileRef | None:
    if len(files) > 1:
        wrong_value(param, "one file", len(files))
    return files[0] if files else None


def _licence(fields: Fields) -> tuple[str, ...]:
    value = fields.get("license")
    if isinstance(value, str):
        return (value,) if value else ()
    return _texts(fields, "license") or ()


def _texts(fields: Fields, name: str) -> tuple[str, ...] | None:
    items = fields.items(name, _MAX_TEXTS)
    if items is None:
        return None
    return tuple(check_text(f"{fields.at(name)}[{i}]", item) for i, item in enumerate(items))


def _parameters(fields: Fields) -> dict[str, Any]:
    parameters = fields.mapping("parameters")
    if parameters is None:
        return {}
    parameters.note(*RETIRED)
    names = [name for name in fields.object("parameters") or {} if name not in RETIRED]
    values = ((name, parameters.get(name)) for name in names)
    return {name: option(name, value) for name, value in values if value is not None}


def _messages(fields: Fields) -> tuple[tuple[str, str], ...] | None:
    if not fields.has("messages"):
        return None
    out = []
    for message in fields.objects("messages", 10_000):
        for name in ("images", "tool_calls"):
            message.refuse(name, [], why="A model's own messages are text.")
        role = (message.text("role") or "").lower()
        if role not in MESSAGE_ROLES:
            wrong_value(message.at("role"), "system, user or assistant", role)
        out.append((role, message.text("content") or ""))
    return tuple(out)


def _tuning(fields: Fields) -> Tuning:
    engine = fields.mapping("engine")
    if engine is None:
        return Tuning()
    for name in fields.object("engine") or {}:
        if name not in ("kind", *Tuning.__dataclass_fields__) or name == "engine":
            raise BadRequest(
                f"Unknown field: '{engine.at(name[:40])}'.",
                hint="The API reference lists the fields of engine.",
                param="engine",
            )
    return Tuning(
        engine=engine.text("kind", longest=40) or "",
        context_length=engine.whole("context_length", 4, INT32_MAX),
        slots=engine.whole("slots", 1, 1024),
        threads=engine.whole("threads", 1, 4096),
        gpu_layers=engine.whole("gpu_layers", -1, INT32_MAX),
        kv_cache_type=engine.choice("kv_cache_type", "f16", "q8_0", "q4_0") or "",
        speculative=engine.choice("speculative", *SPECULATIVE) or "",
        keep_alive=engine.duration("keep_alive"),
    )
