"""What a converter gets to see of a safetensors model: data, and no code.

Converters load tokenizers with ``trust_remote_code``, which imports Python files of the model's folder
where its JSON says ``auto_map``. A view holds neither.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..core.errors import BadRequest

DATA: Final = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja", ".tiktoken", ".md"})
JSON_CEILING: Final = 256 * 2**20
HEADER_CEILING: Final = 100 * 2**20
"""The safetensors library's own limit of a header."""
DEEPEST: Final = 3
CODE: Final = frozenset({"auto_map", "custom_pipelines"})
_ARCHITECTURE: Final = re.compile(r"[A-Za-z0-9_]{1,100}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Weights:
    """All safetensors files of a folder: ``parameters`` in number, ``size`` in bytes."""

    parameters: int
    size: int


def _refuse(message: str) -> BadRequest:
    return BadRequest(
        message, hint="Name the folder of a safetensors model from Hugging Face.", param="model"
    )


def _load(path: Path) -> Any:
    try:
        if path.stat().st_size > JSON_CEILING:
            raise _refuse("A JSON file of the model is too large.")
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _refuse(f"The model's {path.name} cannot be read.") from error


def architecture(folder: Path) -> str:
    """The class that ``config.json`` names. Raises BadRequest."""
    config = _load(folder / "config.json")
    names = config.get("architectures") if isinstance(config, dict) else None
    name = names[0] if isinstance(names, list) and names else None
    if not isinstance(name, str) or not _ARCHITECTURE.match(name):
        raise _refuse("The model's config.json names no architecture.")
    return name


def weights(folder: Path) -> Weights:
    """Count the weights from the headers alone. Raises BadRequest."""
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        raise _refuse("There are no safetensors files.")
    return Weights(sum(_parameters(path) for path in files), sum(path.stat().st_size for path in files))


def _parameters(path: Path) -> int:
    """Format: 8 bytes of length, little-endian, then JSON, then the data."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(HEADER_CEILING, size):
                raise ValueError("header too long")
            header = json.loads(file.read(length))
        shapes = [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]
        return sum(math.prod(int(n) for n in shape) for shape in shapes)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, struct.error, RecursionError) as error:
        raise _refuse("A safetensors file of the model is damaged.") from error


def view(folder: Path, target: Path, deep: int = DEEPEST) -> Path:
    """Make ``target`` a folder with the data of ``folder``: links to large files, JSON without code.

    Raises BadRequest, OSError.
    """
    target.mkdir(mode=0o700)
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink() and deep:
            view(path, target / path.name, deep - 1)
        elif path.is_file() and path.suffix.lower() in DATA:
            _show(path.resolve(), target / path.name)
    return target


def _show(path: Path, target: Path) -> None:
    if target.suffix.lower() == ".json":
        target.write_text(json.dumps(_without_code(_load(path))), "utf-8")
        return
    for link in (os.symlink, os.link):
        with contextlib.suppress(OSError, NotImplementedError):
            link(path, target)
            return
    shutil.copyfile(path, target)


def _without_code(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_code(item) for key, item in value.items() if key not in CODE}
    if isinstance(value, list):
        return [_without_code(item) for item in value]
    return value
