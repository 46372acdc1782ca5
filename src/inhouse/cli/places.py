"""Paths on the command line: made absolute for a server that may read them, refused for one that can't."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.errors import BadRequest
from .client import Client

_PATH = re.compile(r"\.{0,2}[/\\]|~|[A-Za-z]:[\\/]|\.{1,2}\Z|file:")


def is_path(text: str) -> bool:
    """Whether a model is meant by its place: ``./x.gguf``, ``/x.gguf``, ``~/x``, ``x.gguf`` that is here."""
    return bool(_PATH.match(text)) or (text.lower().endswith(".gguf") and ":" not in text and _here(text))


def _here(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def meant(text: str, client: Client) -> str:
    """A model as the server knows it: paths become absolute. Raises BadRequest."""
    if not is_path(text):
        return text
    if not client.is_local:
        raise BadRequest(
            "this server runs elsewhere and cannot use a file of this machine in place",
            hint="Send the file to it: inhouse create NAME -f MODELFILE with FROM ./file.gguf",
        )
    text = re.sub(r"\Afile:(//(localhost)?(?=/))?", "", text)
    path = Path(text).expanduser()
    # Not resolved: a link keeps its name, and the server checks where it leads.
    return str(path if path.is_absolute() else Path.cwd() / path)
