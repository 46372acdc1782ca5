"""Graphics processors: what drivers' tools and libraries say, read and brought together."""

from .find import find

__all__ = ["find"]
