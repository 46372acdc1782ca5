"""What fits beside what: bytes and number of models. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import OutOfMemory


@dataclass(frozen=True, slots=True)
class Room:
    """Room that is left. ``bytes`` and ``models`` None means without limit."""

    bytes: int | None
    models: int | None

    @classmethod
    def of(cls, memory: int, max_loaded: int) -> Room:
        """All the room of a house; 0 is no limit, as in the settings."""
        return cls(memory or None, max_loaded or None)

    def fits(self, memory: int) -> bool:
        return (self.bytes is None or memory <= self.bytes) and (self.models is None or self.models >= 1)

    def take(self, memory: int) -> Room:
        """The room left beside a model of ``memory`` bytes."""
        return self._change(-memory, -1)

    def free(self, memory: int) -> Room:
        """The room once such a model is gone."""
        return self._change(memory, 1)

    def _change(self, memory: int, models: int) -> Room:
        return Room(
            None if self.bytes is None else self.bytes + memory,
            None if self.models is None else self.models + models,
        )


def gib(size: int) -> str:
    """``1.5 GiB``, or MiB below one."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def never_fits(memory: int, budget: int) -> OutOfMemory:
    """The error for a model that is larger than the whole budget."""
    return OutOfMemory(
        f"The model needs about {gib(memory)} of memory, but only {gib(budget)} may be used for models.",
        hint="Choose a smaller model, quantization or context length, or raise INHOUSE_MEMORY.",
    )
