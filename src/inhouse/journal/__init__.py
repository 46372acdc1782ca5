"""What happened and why: the records of models and the ways of requests, kept for those who ask later."""

from .book import Book
from .diary import Diary
from .journal import Journal, Line
from .rules import Finding
from .shelf import opened
from .trace import RUNNING, Trace, Traces, Trouble
from .why import Part, Why, explain

__all__ = [
    "RUNNING",
    "Book",
    "Diary",
    "Finding",
    "Journal",
    "Line",
    "Part",
    "Trace",
    "Traces",
    "Trouble",
    "Why",
    "explain",
    "opened",
]
