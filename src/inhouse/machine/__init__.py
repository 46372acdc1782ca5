"""What hardware is here and what fits on it."""

from .detect import available, detect
from .findings import Finding, findings
from .fit import Fit, plan
from .machine import Bandwidth, Caches, Disk, Gpu, Limit, Machine, Node, Trouble
from .records import fingerprint, from_json, summary, to_json
from .speed import Measure, known, measured

__all__ = [
    "Bandwidth",
    "Caches",
    "Disk",
    "Finding",
    "Fit",
    "Gpu",
    "Limit",
    "Machine",
    "Measure",
    "Node",
    "Trouble",
    "available",
    "detect",
    "findings",
    "fingerprint",
    "from_json",
    "known",
    "measured",
    "plan",
    "summary",
    "to_json",
]
