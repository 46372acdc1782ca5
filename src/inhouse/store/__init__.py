"""Models on disk: blobs and manifests, sources, lifecycle, facts from the headers of weights."""

from .bundles import Export
from .catalogue import DEFAULT_MODEL
from .sources import Policy, PullEvent, Throttle
from .store import Problem, Store

__all__ = ["DEFAULT_MODEL", "Export", "Policy", "Problem", "PullEvent", "Store", "Throttle"]
