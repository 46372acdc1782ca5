"""What hardware is here and what fits on it."""

from .detect import Machine, available, detect, disk_free
from .findings import Finding, findings
from .fit import Fit, plan
from .probes import Gpu

__all__ = ["Finding", "Fit", "Gpu", "Machine", "available", "detect", "disk_free", "findings", "plan"]
