"""An order to make a model as a body for /api/create: paths for a server here, uploads for one elsewhere."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import fields
from math import isinf
from pathlib import Path
from typing import Any

from ..core.create import Create, FileRef
from ..core.errors import BadRequest
from ..core.models import Tuning
from . import places, pulling
from .client import Client

CHUNK = 2**20
_PART = re.compile(r"(.+)-[0-9]{5}-of-([0-9]{5})\.gguf\Z", re.ASCII | re.IGNORECASE)
_PARTS = 4096
_KINDS = (".gguf", ".safetensors", ".json", ".txt", ".jinja", ".model")


def body(order: Create, client: Client) -> dict[str, Any]:
    """The body. Raises BadRequest for files that cannot be read."""
    out: dict[str, Any] = {"model": order.name}
    texts = {
        "from": order.base,
        "template": order.template,
        "system": order.system,
        "license": list(order.licence),
        "parameters": {k: list(v) if isinstance(v, tuple) else v for k, v in order.parameters.items()},
        "messages": [{"role": role, "content": text} for role, text in order.messages or ()],
        "draft_model": order.draft_model,
        "labels": list(order.labels or ()),
        "aliases": list(order.aliases),
        "quantize": order.quantize,
        "allow_requantize": order.allow_requantize,
        "use_embedded_template": order.use_embedded_template,
        "engine": _engine(order.tuning),
    }
    out |= {name: value for name, value in texts.items() if value}
    # Said and empty takes away what the base has.
    said = {"system": order.system, "messages": order.messages, "labels": order.labels}
    out |= {name: texts[name] for name, value in said.items() if value is not None}
    return out | (_paths(order) if client.is_local else _uploads(order, client))


def _engine(tuning: Tuning) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(Tuning):
        value = getattr(tuning, field.name)
        if value not in (None, ""):
            forever = isinstance(value, float) and isinf(value)
            found["kind" if field.name == "engine" else field.name] = -1 if forever else value
    return found


def _paths(order: Create) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    if order.files:
        paths["files"] = [ref.path for ref in order.files]
    if order.adapters:
        paths["adapters"] = [{"path": ref.path, "scale": ref.scale} for ref in order.adapters]
    single = {"projector": order.projector, "draft": order.draft, "imatrix": order.imatrix}
    paths |= {name: one.path for name, one in single.items() if one}
    return {"paths": paths} if paths else {}


def _uploads(order: Create, client: Client) -> dict[str, Any]:
    """Every file is sent unless it is there; a folder is sent file by file."""
    out: dict[str, Any] = {}
    if order.files:
        out["files"] = {}
        for ref in order.files:
            for name, path in _inside(ref):
                out["files"][name] = upload(path, client)
    if order.adapters:
        out["adapters"] = {
            f"{i}-{ref.file}": {"digest": upload(Path(ref.path), client), "scale": ref.scale}
            for i, ref in enumerate(order.adapters)
        }
    single = {"projector": order.projector, "draft_files": order.draft, "imatrix": order.imatrix}
    return out | {name: {one.file: upload(Path(one.path), client)} for name, one in single.items() if one}


def _inside(ref: FileRef) -> list[tuple[str, Path]]:
    path = Path(ref.path)
    if not path.is_dir():
        part = _PART.match(path.name)
        if part is None:
            return [(ref.file, path)]
        names = [f"{part[1]}-{n:05}-of-{part[2]}{path.suffix}" for n in range(1, int(part[2]) + 1)]
        return [(name, path.with_name(name)) for name in names[:_PARTS]]
    found = [p for p in sorted(path.rglob("*")) if p.is_file() and p.suffix.lower() in _KINDS]
    return [(p.relative_to(path).as_posix(), p) for p in found]


def upload(path: Path, client: Client) -> str:
    """Send a file as a blob unless it is there; its digest. Raises BadRequest."""
    try:
        with path.open("rb") as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            if not client.has(f"/api/blobs/{digest}"):
                file.seek(0)
                size = os.fstat(file.fileno()).st_size
                with pulling.counted(f"sending {path.name}", size) as count:
                    client.upload(f"/api/blobs/{digest}", pulling.Counting(file, count), size)
    except OSError as error:
        raise BadRequest(f"{path.name} cannot be read: {error.strerror}", hint="Check the path.") from error
    return digest


def from_model(model: str, client: Client) -> dict[str, Any]:
    """The fields of an order that say what to make from: a model's name or source, or a file here."""
    if not places.is_path(model):
        return {"base": model}
    path = places.meant(model, client)
    return {"files": (FileRef(Path(path).name, path=path),)}


def run(order: Create, client: Client) -> None:
    """Make the model and show how far it is."""
    pulling.job(client, "/api/create", body(order, client), "Nothing was changed; try again.")
