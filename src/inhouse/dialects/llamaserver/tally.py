"""What the choices of one request used, as the engine says it while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...core.usage import Timings, Usage
from .wire import WireTimings


@dataclass(slots=True)
class _Count:
    """One choice. ``thought`` are the places of its first and its last token of thinking."""

    cached: int = 0
    written: int = 0
    prefill: float = 0.0
    decode: float = 0.0
    drafted: int = 0
    accepted: int = 0
    thought: tuple[int, int] | None = None

    @property
    def reasoning(self) -> int:
        return 0 if self.thought is None else self.thought[1] - self.thought[0] + 1


@dataclass(slots=True)
class Tally:
    """Counts by choice; what comes later replaces what came before, so nothing is counted twice."""

    prompt: int = 0
    said: int = 0
    """Tokens written when the last text came."""
    _choices: dict[int, _Count] = field(default_factory=dict)

    def _of(self, index: int) -> _Count:
        return self._choices.setdefault(index, _Count())

    def note(self, index: int, timings: WireTimings | None, prompt: int = 0) -> None:
        """How far a choice is; choices share the prompt and run side by side."""
        self.prompt = max(self.prompt, prompt)
        if timings is None:
            return
        self.prompt = max(self.prompt, timings.cache_n + timings.prompt_n)
        count = self._of(index)
        count.cached = timings.cache_n
        count.prefill, count.decode = timings.prompt_ms / 1000, timings.predicted_ms / 1000
        count.written = max(count.written, timings.predicted_n)
        count.drafted, count.accepted = timings.draft_n, timings.draft_n_accepted

    def wrote(self, index: int, tokens: int, prompt: int) -> None:
        """A choice has ``tokens`` tokens by now."""
        self.prompt = max(self.prompt, prompt)
        count = self._of(index)
        count.written = max(count.written, tokens)

    def thought(self, index: int) -> None:
        """The newest token of a choice was one of thinking."""
        count = self._of(index)
        before = count.thought[1] if count.thought else 0
        now = count.written or before + 1  # an engine that says no counts writes a token at a time
        count.thought = (count.thought[0] if count.thought else now, now)

    def usage(self, *, mute: bool = False) -> Usage:
        """Tokens of the whole request; a muted answer counts as none."""
        counts = list(self._choices.values())
        if mute or not counts:
            return Usage(self.prompt, 0, min((c.cached for c in counts), default=0))
        return Usage(
            self.prompt,
            sum(count.written for count in counts),
            min(count.cached for count in counts),
            sum(count.reasoning for count in counts),
            sum(count.drafted for count in counts),
            sum(count.accepted for count in counts),
        )

    def timings(self) -> Timings:
        """The engine's own times."""
        counts = list(self._choices.values())
        return Timings(
            prefill=max((count.prefill for count in counts), default=0.0),
            decode=max((count.decode for count in counts), default=0.0),
        )
