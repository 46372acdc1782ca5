"""Where the native kernels of Inhouse lie. Nothing is loaded: an engine's process does that."""

from __future__ import annotations

from pathlib import Path

__all__ = ["library"]


def library() -> Path | None:
    """The library that plugs into llama.cpp; None where the package came without it."""
    found = Path(__file__).with_name("libinhouse_kernels.so")
    return found if found.is_file() else None
