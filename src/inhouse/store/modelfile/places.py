"""What a text behind FROM, ADAPTER and the like means: a file of this machine, or a model elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ...core.create import FileRef
from ...core.errors import BadRequest

_WEIGHTS: Final = (".gguf", ".safetensors", ".bin", ".pth", ".pt")
_DRIVE: Final = re.compile(r"[A-Za-z]:[\\/]")
_HINT: Final = "Paths are read from the folder of the model file."


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model file lies: paths in it are relative to ``folder``. ``exists`` is asked for each."""

    folder: str
    exists: Callable[[str], bool] = os.path.exists

    def path(self, text: str) -> str:
        """The absolute path that a text means; ``~/`` is the user's home."""
        text = os.path.expanduser(text) if text.startswith("~") else text
        return os.path.normpath(os.path.join(os.path.abspath(self.folder), text))

    def file(self, text: str, what: str, scale: float = 1.0) -> FileRef:
        """A file or folder that must be there. Raises BadRequest: ``what`` says which one is missing."""
        path = self.path(text)
        if not text or "\0" in text or not self.exists(path):
            raise BadRequest(f"There is no such file: {what}.", hint=_HINT, detail=path)
        return FileRef(file=os.path.basename(path), path=path, scale=scale)

    def model(self, text: str, what: str) -> FileRef | str:
        """A file where there is one, else the name or source text of a model. Raises BadRequest.

        As in Ollama a file of that name wins. What can only be a path must be one that is there.
        """
        if "\0" not in text and "://" not in text and self.exists(self.path(text)):
            return self.file(text, what)
        if _only_a_path(text):
            return self.file(text, what)
        return text


def _only_a_path(text: str) -> bool:
    if text in (".", "..", "~") or text.startswith(("/", "./", "../", "~/", "\\", ".\\", "..\\")):
        return True
    weights = text.lower().endswith(_WEIGHTS) and "/" not in text and ":" not in text
    return weights or bool(_DRIVE.match(text))
