"""Who runs, who waits, who goes: workers as processes, and leases on them."""

from .fleet import Fleet
from .footprint import Size
from .lease import Lease
from .report import FleetSettings, Loaded, Observer
from .worker import Checkable

__all__ = ["Checkable", "Fleet", "FleetSettings", "Lease", "Loaded", "Observer", "Size"]
