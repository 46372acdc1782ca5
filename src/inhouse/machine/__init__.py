"""What hardware is here and what fits on it."""

from .detect import available, detect, disk_free
from .findings import Finding, findings
from .fit import Fit, plan
from .machine import Bandwidth, Caches, Disk, Gpu, Limit, Machine, Node, Trouble
from .records import fingerprint, from_json, to_json

__all__ = [
    "Bandwidth",
    "Caches",
    "Disk",
    "Finding",
    "Fit",
    "Gpu",
    "Limit",
    "Machine",
    "Node",
    "Trouble",
    "available",
    "detect",
    "disk_free",
    "findings",
    "fingerprint",
    "from_json",
    "plan",
    "to_json",
]
