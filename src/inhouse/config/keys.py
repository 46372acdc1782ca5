"""Who may call: the keys of the settings and of their file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import BadRequest
from .sections import Server

LENGTH = 4096
"""Letters of a key."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key and what its owner is called, "" where nobody said."""

    name: str
    secret: str = field(repr=False)


def api_keys(settings: Server) -> tuple[ApiKey, ...]:
    """All keys, those of the setting before those of the file; none means that no key is needed.

    Raises BadRequest when the file cannot be read or has a line that is no ``name=key``; the message never
    holds what is in it.
    """
    inline = [ApiKey("", part.strip()) for part in settings.api_key.split(",") if part.strip()]
    return (*inline, *(_read(Path(settings.api_keys_file).expanduser()) if settings.api_keys_file else ()))


def _read(path: Path) -> list[ApiKey]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadRequest(
            f"the file of API keys cannot be read: {why}", hint="Check INHOUSE_API_KEYS_FILE."
        ) from None
    found = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, secret = (part.strip() for part in text.partition("="))
        if not (name and equals and secret) or len(secret) > LENGTH:
            raise BadRequest(
                f"line {number} of the file of API keys is not name=key", hint="Check INHOUSE_API_KEYS_FILE."
            )
        found.append(ApiKey(name, secret))
    if not found:
        raise BadRequest(
            "the file of API keys holds none", hint="Write a line like alice=KEY, or unset the setting."
        )
    return found


__all__ = ["ApiKey", "api_keys"]
