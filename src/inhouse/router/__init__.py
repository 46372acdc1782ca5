"""Local or remote, and why. Pure."""

from .route import Route, route

__all__ = ["Route", "route"]
