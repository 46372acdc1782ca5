"""Models that other programs keep on this machine: found, listed and used where they lie, read-only."""

from __future__ import annotations

from .base import Found

__all__ = ["Found"]
