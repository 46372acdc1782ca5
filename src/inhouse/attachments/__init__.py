"""What a request only names: images and texts at http(s) addresses, brought before a model sees them.

The life of one: the operator's hosts are looked at before anything is connected to (``gate``) · asked
for, hop by hop, within a size and a time (``fetch``) · known by its first bytes (``read``) · put in
the place of its name (``attachments``).
"""

from .attachments import Attachments

__all__ = ["Attachments"]
