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
TEXT_LONGEST: Final = 2**20


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(TEXT_LONGEST + 1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model file lies: paths in it are relative to ``folder``. ``exists`` is asked for each; ``read``
    gives what is in a file, of which no more than TEXT_LONGEST bytes and one are wanted."""

    folder: str
    exists: Callable[[str], bool] = os.path.exists
    read: Callable[[str], bytes] = _read

    def path(self, text: str) -> str:
        """The absolute path that a text means; ``~/`` is the user's home."""
        text = os.path.expanduser(text) if text.startswith("~") else text
        return os.path.normpath(os.path.join(os.path.abspath(self.folder), text))

    def file(self, text: str, what: str, scale: float = 1.0) -> FileRef:
        """A file or folder that must be there. Raises BadRequest: ``what`` says which one is missing."""
        path = self.path(text)
        if not text or "\0" in text or not self.exists(path):
            raise BadRequest(f"{what}: there is no such file", hint=_HINT, detail=path)
        return FileRef(file=os.path.basename(path), path=path, scale=scale)

    def text(self, text: str, what: str) -> str:
        """What is written in a file. Raises BadRequest."""
        path = self.file(text, what).path
        try:
            data = self.read(path)
            if len(data) <= TEXT_LONGEST:
                return data.decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise BadRequest(
                f"{what}: the file cannot be read as UTF-8 text", hint=_HINT, detail=path
            ) from error
        raise BadRequest(f"{what}: the file is longer than 1 MiB", hint="Name a text file.", detail=path)

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
