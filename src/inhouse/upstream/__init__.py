"""Engine over HTTP: the same interface for a worker's socket and, later, for a provider's URL."""

from .hot import Rules
from .shelf import Shelf
from .worker import WorkerEngine

__all__ = ["Rules", "Shelf", "WorkerEngine"]
