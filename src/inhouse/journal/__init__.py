"""What happened and why: the records of models and the ways of requests, kept for those who ask later."""

from .journal import Journal, Line

__all__ = ["Journal", "Line"]
