"""How fast an engine is: the same requests at one to many clients, as medians with their spread."""

from .figures import Figures, Level, Spread, curves, ratio
from .plan import Plan, Task
from .run import Round, Run, Subject, compare, fold, measure, rounds
from .sample import Sample, sample
from .versus import apart, in_turns

__all__ = [
    "Figures",
    "Level",
    "Plan",
    "Round",
    "Run",
    "Sample",
    "Spread",
    "Subject",
    "Task",
    "apart",
    "compare",
    "curves",
    "fold",
    "in_turns",
    "measure",
    "ratio",
    "rounds",
    "sample",
]
