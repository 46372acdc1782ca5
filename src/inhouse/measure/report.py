"""What a benchmark answers: its figures, beside those of another engine or of an earlier run. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from .figures import Figures, curves
from .run import Round
from .versus import apart, in_turns

OURS: Final = "ours"
"""The subject that is held against others."""


@dataclass(frozen=True, slots=True)
class Report:
    """``ours`` are the figures; ``against`` (name, figures) those of what took turns with it in the rounds
    that are ``done``; ``before`` an earlier run's."""

    ours: Figures
    done: Sequence[Round] = ()
    against: tuple[str, Figures] | None = None
    before: Figures | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with the ratios of what was compared."""
        found: dict[str, Any] = {"figures": self.ours.to_json()}
        if self.against is not None:
            name, figures = self.against
            found["against"] = {"name": name, "figures": figures.to_json()}
            found["ratios"] = in_turns(self.done, OURS, name)
        if self.before is not None:
            found["before"] = self.before.to_json()
            found["ratios"] = apart(self.ours, self.before)
        return found

    def lines(self) -> dict[str, list[tuple[float, float]]]:
        """What to draw of it: see ``curves``."""
        shown = {self.ours.model: self.ours}
        shown |= dict([self.against] if self.against is not None else [])
        return curves(shown | ({"before": self.before} if self.before is not None else {}))


__all__ = ["OURS", "Report"]
