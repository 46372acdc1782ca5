"""What each request cost: entries fed by canonical events, never by wire bytes."""

from .entry import Entry
from .meter import Histogram, Meter
from .open import Open

__all__ = ["Entry", "Histogram", "Meter", "Open"]
