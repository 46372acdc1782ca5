"""Engine over HTTP: the same interface for a worker's socket and, later, for a provider's URL."""

from .worker import WorkerEngine

__all__ = ["WorkerEngine"]
