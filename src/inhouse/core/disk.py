"""What the disk holds, and what it does wrong as errors of ours."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import NoSpace, StoreError


def failure(error: OSError, doing: str) -> StoreError:
    """An OSError as an error of ours; a full disk is its own kind."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(
            f"The disk is full: {doing} stopped.",
            hint="Free some space, e.g. with: inhouse rm MODEL",
            detail=str(error),
        )
    reason = error.strerror or type(error).__name__
    return StoreError(
        f"The models folder failed while {doing}: {reason}.",
        hint="Check that it exists, is yours and can be written, or set INHOUSE_HOME to another folder.",
        detail=str(error),
    )


@contextlib.contextmanager
def guarded(doing: str) -> Iterator[None]:
    """Translate OSErrors of a block into StoreError or NoSpace."""
    try:
        yield
    except OSError as error:
        raise failure(error, doing) from error


def tree_size(folder: Path) -> int:
    """Bytes of the files below a folder that may change meanwhile."""
    total = 0
    for root, _, files in os.walk(folder):
        for file in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(root, file)).st_size
    return total
