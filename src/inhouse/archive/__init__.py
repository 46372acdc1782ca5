"""What clients asked us to keep: answers, conversations, files. One SQLite file and a folder beside it.

    async API ── one thread ── Shelf (SQLite, WAL: a process killed at any moment leaves it readable)
              └─ contents/ (one file a content; one that no row names is removed when the archive opens)

Everything belongs to a tenant, and nobody sees another's. What is old, or too much, goes: first kept,
first gone. Files of the archive are readable by this user alone.
"""

from .archive import Archive
from .kept import Kept, Page

__all__ = ["Archive", "Kept", "Page"]
