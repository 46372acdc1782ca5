"""What a manifest's layers are together: the files of one model, and its small texts.

Decided from types, names and the config alone; nothing is fetched here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from ...core.errors import Unsupported
from ..sources.base import Role
from . import media
from .manifest import Descriptor, Manifest, bad

TEXTS_CEILING: Final = 64
_SPLIT: Final = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.gguf\Z", re.ASCII)
_PART: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.+=@,() -]{0,199}\Z", re.ASCII)
_CONFIG_SUFFIXES: Final = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_STEMS: Final[dict[Role, str]] = {
    "model": "model",
    "projector": "mmproj",
    "adapter": "adapter",
    "draft": "draft",
    "weights": "model",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of a model: ``file`` is a safe relative path, ``scale`` that of an adapter."""

    role: Role
    file: str
    blob: Descriptor
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Contents:
    """All of a model: files in order, and small texts with what each of them is."""

    pieces: tuple[Piece, ...]
    texts: tuple[tuple[media.Meaning, Descriptor], ...]


def safe_path(path: str, where: str) -> str:
    """A relative path that stays below its folder on every system. Raises SourceFailed."""
    parts = path.split("/")
    if len(path) > 400 or not all(
        _PART.match(part) and part not in (".", "..") and not part.endswith((".", " ")) for part in parts
    ):
        raise bad(f"{where} has an unsafe file name")
    return path


def _file(blob: Descriptor, where: str) -> str:
    """The name that a layer gives its file, "" if none."""
    path = blob.annotations.get(media.FILEPATH) or blob.annotations.get(media.TITLE) or ""
    return safe_path(path.removeprefix("./"), where) if path else ""


def _by_name(blob: Descriptor, file: str, format_: str) -> media.Meaning:
    """What a layer is whose type leaves it open."""
    role = blob.annotations.get(media.ROLE, "")
    lower = file.rsplit("/", 1)[-1].lower()
    if lower.endswith(".gguf"):
        if role in media.FILES:
            return cast(media.Meaning, role)
        return "projector" if "mmproj" in lower else "model"
    if lower.endswith(".safetensors"):
        return "weights"
    if not file and blob.media_type == media.CNCF_WEIGHT and format_ == "gguf":
        return "model"
    return "ignored"


def _meaning(blob: Descriptor, where: str, format_: str) -> tuple[media.Meaning, str]:
    """What a layer is, and its file name where that matters."""
    meaning = media.meaning(blob.media_type)
    if meaning == "ignored" or meaning in media.TEXTS:
        return meaning, ""
    if meaning == "named" and not blob.media_type.startswith(media.CNCF):
        name = blob.annotations.get(media.FILEPATH) or blob.annotations.get(media.TITLE) or ""
        if not name.lower().endswith((".gguf", ".safetensors")):
            return "ignored", ""
    file = _file(blob, where)
    base = file.rsplit("/", 1)[-1].lower()
    if meaning == "named":
        return _by_name(blob, file, format_), file
    if meaning == "doc":
        return ("licence" if base.startswith(("license", "licence", "copying")) else "ignored"), file
    if meaning == "config":
        if base == "chat_template.jinja":
            return "jinja", file
        return ("config" if base.endswith(_CONFIG_SUFFIXES) else "ignored"), file
    return meaning, file


def _scale(blob: Descriptor, where: str) -> float:
    try:
        scale = float(blob.annotations.get(media.SCALE, "1"))
    except ValueError:
        scale = math.nan
    if not math.isfinite(scale):
        raise bad(f"{where} has a scale that is not a number")
    return scale


def contents(manifest: Manifest, config: Mapping[str, Any]) -> Contents:
    """Everything that belongs to the model. ``config``: the config blob, {} if there is none.

    Raises SourceFailed for unsafe names, Unsupported with the reason where there is nothing to run.
    """
    format_ = _format(config)
    pieces: list[Piece] = []
    texts: list[tuple[media.Meaning, Descriptor]] = []
    seen: set[media.Meaning] = set()
    for i, blob in enumerate(manifest.layers):
        where = f"layers[{i}]"
        meaning, file = _meaning(blob, where, format_)
        seen.add(meaning)
        if meaning in media.TEXTS:
            texts.append((meaning, blob))
        elif meaning in media.FILES:
            if not blob.size:
                raise bad(f"{where} (sha256:{blob.hex[:12]}…) is empty")
            scale = _scale(blob, where) if meaning == "adapter" else 1.0
            pieces.append(Piece(cast(Role, meaning), file, blob, scale))
    if len(texts) > TEXTS_CEILING:
        raise bad(f"it has {len(texts)} texts, more than {TEXTS_CEILING}")
    _refuse(pieces, seen, format_)
    return Contents(_named(pieces), tuple(texts))


def check_config(config: object) -> None:
    """Refuse configs of models that do not run here. Raises SourceFailed, Unsupported."""
    if not isinstance(config, dict):
        raise bad("the config is not an object")
    if config.get("remote_host") or config.get("remote_model"):
        raise Unsupported(
            "This model runs in Ollama's cloud and has no weights to fetch.",
            hint="Take one without 'cloud' in its tag.",
            param="model",
        )


def _format(config: Mapping[str, Any]) -> str:
    """The format that a config declares: Ollama's, Docker's or ModelPack's field."""
    inner = config.get("config")
    value = config.get("model_format") or (inner.get("format") if isinstance(inner, dict) else "")
    return value.lower() if isinstance(value, str) else ""


def _refuse(pieces: Sequence[Piece], seen: set[media.Meaning], format_: str) -> None:
    """Raises Unsupported when these layers are no model that could be run here."""
    roles = {piece.role for piece in pieces}
    hint = "Take a GGUF variant of the model, e.g. from hf.co."
    if "mlx" in seen or ("model" in roles and format_ == "safetensors"):
        raise Unsupported(
            "This model is stored for Ollama's MLX engine, one tensor per layer, and runs only there.",
            hint=hint,
            param="model",
        )
    if "model" in roles or ("weights" in roles and "archive" not in seen):
        return
    if "archive" in seen:
        raise Unsupported(
            "This model's files are packed in tar archives, which cannot be used in place.",
            hint="Package it again with raw layers (modctl: --raw), or take a GGUF variant.",
            param="model",
        )
    if "dduf" in seen:
        raise Unsupported("This is a DDUF image model, which no engine here runs.", hint=hint, param="model")
    raise Unsupported(
        "That is not a model: none of its layers is a GGUF or safetensors file.",
        hint="Check the name; ordinary container images hold no model.",
        param="model",
    )


def _named(pieces: list[Piece]) -> tuple[Piece, ...]:
    """Every piece with a file name of its own; a split model's parts in order.

    A GGUF model leaves tokenizer and configuration files behind: they are inside it.
    """
    models = _parts([p for p in pieces if p.role == "model"])
    out = list(models)
    for role in ("projector", "adapter", "draft", "weights", "config"):
        if models and role in ("weights", "config"):
            continue
        same = [piece for piece in pieces if piece.role == role]
        out += [_fallback(piece, i, len(same)) for i, piece in enumerate(same, 1)]
    files = [piece.file.lower() for piece in out]
    folders = {file[:i] for file in files for i, char in enumerate(file) if char == "/"}
    if len(set(files)) != len(files) or folders & set(files):
        raise bad("two of its files have the same name")
    return tuple(out)


def _fallback(piece: Piece, number: int, count: int) -> Piece:
    """The piece with a name made from its role where its layer had none."""
    if piece.role in ("weights", "config"):
        if not piece.file and (piece.role == "config" or count > 1):
            raise bad(f"the layer sha256:{piece.blob.hex[:12]}… has no file name")
        return piece if piece.file else replace(piece, file="model.safetensors")
    base = piece.file.rsplit("/", 1)[-1]
    end = f"-{number}" if number > 1 else ""
    return replace(piece, file=base or f"{_STEMS[piece.role]}{end}.gguf")


def _parts(models: list[Piece]) -> list[Piece]:
    """The model's one file, or the parts of a split one, in order and named as parts."""
    if len(models) <= 1:
        return [_fallback(piece, 1, 1) for piece in models]
    bases = [piece.file.rsplit("/", 1)[-1] for piece in models]
    if not any(bases):
        total = len(models)
        return [replace(p, file=f"model-{i:05d}-of-{total:05d}.gguf") for i, p in enumerate(models, 1)]
    matches = [_SPLIT.match(base) for base in bases]
    found = sorted((m["stem"], int(m["parts"]), int(m["part"])) for m in matches if m)
    stem, total = found[0][:2] if found else ("", 0)
    if total != len(models) or found != [(stem, len(models), i) for i in range(1, total + 1)]:
        raise Unsupported(
            "This artifact holds several models and not one.",
            hint="Take one that holds a single GGUF model (or the parts of one).",
            param="model",
        )
    named = [replace(piece, file=base) for piece, base in zip(models, bases, strict=True)]
    return sorted(named, key=lambda piece: piece.file)
