"""How fast an engine is: the same requests at one to many clients, as medians with their spread."""

from .figures import Figures, Level, Spread, ratio
from .plan import Plan, Task
from .run import Round, Run, Subject, compare, fold, measure, rounds
from .sample import Sample, sample

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
    "compare",
    "fold",
    "measure",
    "ratio",
    "rounds",
    "sample",
]
