"""/v1/files: the fields of an upload and the objects told of it."""

from __future__ import annotations

import re
from typing import Any

from ...core.errors import BadRequest, BodyTooLarge
from ...core.messages import Remote
from ..fields import missing, wrong_value

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
MAX_NAME = 1024
SHORTEST, LONGEST = 3600, 2_592_000
MAX_TOGETHER = 64 * 2**20
_KEPT = "kept:"
_WHOLE = re.compile(r"\d{1,10}\Z", re.ASCII)


class Allowance:
    """How many bytes of uploaded files one request may name in all; a file that is named twice counts twice,
    as it is in the prompt twice."""

    def __init__(self, left: int = MAX_TOGETHER) -> None:
        self._left = left

    def take(self, size: int, param: str) -> None:
        """Raises BodyTooLarge."""
        self._left -= size
        if self._left < 0:
            raise BodyTooLarge(
                f"The files up to '{param}' are larger than {MAX_TOGETHER // 2**20} MiB together.",
                hint="Name fewer of them, or parts of them.",
                param=param,
            )


def kept_file(ident: str, param: str) -> Remote:
    """A file that a client uploaded before, as a part; the server replaces it before anybody else looks."""
    return Remote(_KEPT + ident, "text", param)


def kept_id(part: Remote) -> str | None:
    """The id of a file that was uploaded before; None for what lies elsewhere."""
    return part.url.removeprefix(_KEPT) if part.url.startswith(_KEPT) else None


def check_purpose(given: str | None) -> str:
    """What an upload is for. Raises BadRequest."""
    if given is None:
        missing("purpose", "one of " + ", ".join(f"'{p}'" for p in PURPOSES))
    if given not in PURPOSES:
        wrong_value("purpose", "one of " + ", ".join(f"'{p}'" for p in PURPOSES), given)
    return given


def check_lifetime(anchor: str | None, seconds: str | None) -> int | None:
    """``expires_after`` of an upload in seconds. Raises BadRequest."""
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        wrong_value("expires_after.anchor", "'created_at'", anchor)
    if seconds is None or not _WHOLE.match(seconds) or not SHORTEST <= int(seconds) <= LONGEST:
        wrong_value("expires_after.seconds", f"a whole number from {SHORTEST} to {LONGEST}", seconds)
    return int(seconds)


def check_filename(given: str | None) -> str:
    """The name of an upload: data, never a path here. Raises BadRequest."""
    if given is None:
        raise BadRequest(
            "Missing required field: 'file'.", hint="Send it as a part with a file name.", param="file"
        )
    if len(given) > MAX_NAME:
        wrong_value("file", f"a file name of at most {MAX_NAME} characters")
    return given


def file_object(ident: str, created: float, expires: float | None, facts: dict[str, Any]) -> dict[str, Any]:
    """A file as clients see it; ``facts`` has bytes, filename and purpose."""
    shown = {
        "id": ident,
        "object": "file",
        "bytes": facts["bytes"],
        "created_at": int(created),
        "filename": facts["filename"],
        "purpose": facts["purpose"],
        "status": "processed",
    }
    return shown if expires is None else {**shown, "expires_at": int(expires)}
