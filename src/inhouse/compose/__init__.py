"""The composition root: wires everything, knows everybody, decides nothing."""

from .house import Activity, House
from .serve import serve

__all__ = ["Activity", "House", "serve"]
