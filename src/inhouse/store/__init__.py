"""Models on disk: blobs and manifests, pulling from sources, facts from GGUF headers."""

from .catalogue import DEFAULT_MODEL
from .sources import PullEvent
from .store import Problem, Store

__all__ = ["DEFAULT_MODEL", "Problem", "PullEvent", "Store"]
