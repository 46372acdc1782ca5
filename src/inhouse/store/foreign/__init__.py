"""Models that other programs keep on this machine: found, listed and used where they lie, read-only.

One file per program; ``scan`` of each takes the environment and the home folder and looks at folders
only, never into models. What a program's folder holds that cannot be used is passed over in silence.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from . import hub, llamacpp, lmstudio, ollama
from .base import Found

log = logging.getLogger(__name__)

SCANS = (ollama.scan, hub.scan, llamacpp.scan, lmstudio.scan)


def scan(environ: Mapping[str, str], home: Path) -> list[Found]:
    """Everything of all programs; one whose folder cannot be understood never hides the others."""
    found: list[Found] = []
    for look in SCANS:
        try:
            found += look(environ, home)
        except Exception:
            log.exception("another program's models cannot be listed: %s", look.__module__)
    return found


__all__ = ["Found", "scan"]
