"""What a model will take and how fast it will be, before it is here or loaded; and how right we were."""

from .history import History, Record, Score, What, Where
from .placement import Device, Placement
from .plan import Host, Planned, Subject, make, told
from .speed import Range, Rate, Speed, Work

__all__ = [
    "Device",
    "History",
    "Host",
    "Placement",
    "Planned",
    "Range",
    "Rate",
    "Record",
    "Score",
    "Speed",
    "Subject",
    "What",
    "Where",
    "Work",
    "make",
    "told",
]
