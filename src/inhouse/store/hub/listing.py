"""Which files of a repository make a model. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from ...core.errors import Unsupported
from .. import quants
from ..sources.base import Role

CONFIG_LIMIT: Final = 128 * 2**20
CONFIGS: Final = frozenset({".json", ".jinja", ".model", ".txt", ".tiktoken"})
CODE: Final = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npz", ".py", ".so"})
ELSEWHERE: Final = frozenset({"original", "metal", "onnx", "openvino", "coreml", "gguf", "runs", "assets"})
"""Folders that hold the same model for other programs."""
TEXTS: Final = frozenset({"template", "system", "params"})

_SHARD = re.compile(r"(?P<stem>.+)-(?P<at>[0-9]{5})-of-(?P<of>[0-9]{5})\.safetensors\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository. ``size`` 0 and ``sha256`` "" are unknown; ``blob`` is the name of its
    blob in the cache, 64 or 40 hex ("" unknown)."""

    path: str
    size: int = 0
    sha256: str = ""
    blob: str = ""


@dataclass(frozen=True, slots=True)
class Picked:
    """The files to take, in order, and a sentence about it for the user ("" if there is none)."""

    files: tuple[tuple[Role, HubFile], ...]
    said: str = ""


def pick(files: Sequence[HubFile], wanted: str, room: int) -> Picked:
    """The model of a repository: its GGUF files if it has any, else its safetensors files.

    ``wanted`` and ``room`` as in ``quants.choose``. Raises ModelNotFound, Unsupported.
    """
    choices = quants.group((file.path, file.size) for file in files)
    if choices or wanted:
        return _gguf(files, choices, wanted, room)
    return _safetensors(files)


def _gguf(files: Sequence[HubFile], choices: Sequence[quants.Choice], wanted: str, room: int) -> Picked:
    chosen = quants.choose(choices, wanted, room)
    by_path = {file.path: file for file in files}
    taken: list[tuple[Role, HubFile]] = [("model", by_path[part]) for part in chosen.choice.parts]
    folder = PurePosixPath(chosen.choice.file).parent
    # A projector belongs to the models of its own folder and below.
    near = [file.path for file in files if folder.is_relative_to(PurePosixPath(file.path).parent)]
    if found := quants.projector(near):
        taken.append(("projector", by_path[found]))
    return Picked(tuple(taken), chosen.said)


def _safetensors(files: Iterable[HubFile]) -> Picked:
    weights: list[HubFile] = []
    configs: list[HubFile] = []
    code = 0
    for file in sorted(files, key=lambda file: file.path):
        path = PurePosixPath(file.path)
        if path.suffix.lower() in CODE:
            code += 1
        elif path.parts[0].lower() in ELSEWHERE or any(part.startswith(".") for part in path.parts):
            continue
        elif path.suffix.lower() == ".safetensors":
            weights.append(file)
        elif path.suffix.lower() in CONFIGS and not path.name.endswith(".bin.index.json"):
            configs += [file] if file.size <= CONFIG_LIMIT else []
    ignored = f"{code} pickles or programs in it are ignored: they could run code." if code else ""
    if any(file.path.startswith("model") for file in weights):
        # Mistral's own format, the same weights once more.
        weights = [file for file in weights if not file.path.startswith("consolidated")]
    if not weights:
        raise Unsupported(
            "There is neither a GGUF nor a safetensors model in it.",
            hint=ignored or "Look for a repository whose name ends in -GGUF.",
            param="model",
        )
    _refuse_torn(file.path for file in weights)
    roles: list[tuple[Role, HubFile]] = [("weights", file) for file in weights]
    return Picked((*roles, *(("config", file) for file in configs)), ignored)


def _refuse_torn(paths: Iterable[str]) -> None:
    """Raises Unsupported where a shard of a set is missing."""
    sets: dict[tuple[str, int], set[int]] = {}
    for path in paths:
        if match := _SHARD.match(path):
            sets.setdefault((match["stem"], int(match["of"])), set()).add(int(match["at"]))
    for (_, count), there in sets.items():
        if there != set(range(1, count + 1)):
            raise Unsupported(
                "Some of the files of the weights are missing.",
                hint=f"There are {len(there)} of {count}.",
                param="model",
            )


__all__ = ["TEXTS", "HubFile", "Picked", "pick"]
