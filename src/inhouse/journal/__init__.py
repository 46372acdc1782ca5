"""What happened and why: the records of models and the ways of requests, kept for those who ask later."""

from .book import Book
from .journal import Journal, Line
from .trace import Trace, Traces, Trouble

__all__ = ["Book", "Journal", "Line", "Trace", "Traces", "Trouble"]
