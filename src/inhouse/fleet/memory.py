"""What fits beside what: bytes and number of models. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..core.errors import OutOfMemory


@dataclass(frozen=True, slots=True)
class Room:
    """Room that is left. ``bytes`` of the machine, ``device`` bytes of its GPUs and ``models``; None
    means without limit."""

    bytes: int | None
    models: int | None
    device: int | None = None

    @classmethod
    def of(cls, memory: int, max_loaded: int, device: int = 0) -> Room:
        """All the room of a house; 0 is no limit, as in the settings."""
        return cls(memory or None, max_loaded or None, device or None)

    def within(self, memory: int) -> Room:
        """The same with at most ``memory`` bytes."""
        return replace(self, bytes=memory if self.bytes is None else min(self.bytes, memory))

    def fits(self, memory: int, device: int = 0) -> bool:
        return (
            (self.bytes is None or memory <= self.bytes)
            and (self.device is None or device <= self.device)
            and (self.models is None or self.models >= 1)
        )

    @property
    def short(self) -> bool:
        """Is more taken than there is?"""
        return (self.bytes is not None and self.bytes < 0) or (self.device is not None and self.device < 0)

    def take(self, memory: int, device: int = 0) -> Room:
        """The room left beside a model of so many bytes."""
        return self._change(-memory, -device, -1)

    def free(self, memory: int, device: int = 0) -> Room:
        """The room once such a model is gone."""
        return self._change(memory, device, 1)

    def _change(self, memory: int, device: int, models: int) -> Room:
        return Room(
            None if self.bytes is None else self.bytes + memory,
            None if self.models is None else self.models + models,
            None if self.device is None else self.device + device,
        )


def gib(size: int) -> str:
    """``1.5 GiB``, or MiB below one."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def never_fits(memory: int, budget: int, what: str = "memory") -> OutOfMemory:
    """The error for a model that is larger than the whole budget."""
    return OutOfMemory(
        f"The model needs about {gib(memory)} of {what}, but only {gib(budget)} may be used for models.",
        hint="Choose a smaller model, quantization or context length, or raise INHOUSE_MEMORY;"
        " 'inhouse plan MODEL' shows what fits.",
    )


def not_there(memory: int, left: int) -> OutOfMemory:
    """The error for a model for which the machine has no memory left, whatever we unload."""
    return OutOfMemory(
        f"The model needs about {gib(memory)} of memory, but other programs leave only {gib(max(0, left))},"
        " even with every other model unloaded.",
        hint="Close other programs, or choose a smaller model or context length;"
        " 'inhouse plan MODEL' shows what fits.",
        retry_after=10.0,
    )
