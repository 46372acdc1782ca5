"""What a look into another program's store finds."""

from __future__ import annotations

from dataclasses import dataclass

from ..sources.base import Listing


@dataclass(frozen=True, slots=True)
class Found:
    """A model in another program's store.

    ``program``: ollama, huggingface, llama.cpp or lmstudio. ``text`` is the source text that uses it
    (``ollama:llama3.2:1b``, ``hf.co/org/repo:file.gguf``, a path). The assets of ``listing`` have a
    ``pathlib.Path`` as locator. ``modified_at``: seconds since the epoch.
    """

    program: str
    text: str
    listing: Listing
    modified_at: float

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(asset.size for asset in self.listing.assets)
