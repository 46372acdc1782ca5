"""The whole answer as a fold of the stream, for the encoders that send one body."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.errors import EngineError
from ..core.events import (
    ChoiceEnd,
    Event,
    Finished,
    Notice,
    Reason,
    ReasoningDelta,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Vector,
)


@dataclass(slots=True)
class Call:
    """One tool call as far as it has come; ``arguments`` are pieces of JSON text."""

    id: str
    name: str
    arguments: list[str] = field(default_factory=list)

    def add(self, delta: ToolCallDelta) -> None:
        self.id = self.id or delta.id or ""
        self.name = self.name or delta.name or ""
        self.arguments.append(delta.arguments)


@dataclass(slots=True)
class Choice:
    """One choice as far as it has come; ``reason`` is None while it is open."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    calls: dict[int, Call] = field(default_factory=dict)
    reason: Reason | None = None


class Fold:
    """Collects the events of one request."""

    __slots__ = ("choices", "finished", "notices", "started", "vectors")

    def __init__(self) -> None:
        self.choices: dict[int, Choice] = {}
        self.vectors: dict[int, tuple[float, ...]] = {}
        self.notices: list[Notice] = []
        self.started = Started()
        self.finished: Finished | None = None

    def choice(self, index: int) -> Choice:
        """The choice of this index, made when it is first met."""
        found = self.choices.get(index)
        if found is None:
            found = self.choices[index] = Choice()
        return found

    def feed(self, event: Event) -> Finished | None:
        """Take one event; gives ``Finished`` back when the answer is whole."""
        match event:
            case TextDelta(text, index, logprobs):
                choice = self.choice(index)
                choice.text.append(text)
                choice.logprobs.extend(logprobs)
            case ReasoningDelta(text, index):
                self.choice(index).reasoning.append(text)
            case ToolCallDelta():
                self.choice(event.index).calls.setdefault(event.call, Call("", "")).add(event)
            case Vector(index, values):
                self.vectors[index] = values
            case ChoiceEnd(reason, index):
                self.choice(index).reason = reason
            case Notice():
                self.notices.append(event)
            case Started():
                self.started = event
            case Finished():
                self.finished = event
                return event
            case _:
                pass
        return None

    def ended(self, total: int) -> list[tuple[int, Choice, Reason]]:
        """All ``total`` choices with their reasons. Raises EngineError when one never ended."""
        out = []
        for index in range(total):
            choice = self.choice(index)
            if choice.reason is None:
                raise unended()
            out.append((index, choice, choice.reason))
        return out

    def vectors_in_order(self, total: int) -> list[tuple[float, ...]]:
        """All ``total`` vectors. Raises EngineError when one is missing."""
        if any(index not in self.vectors for index in range(total)):
            raise EngineError("The engine left out an embedding.", hint="Try again.")
        return [self.vectors[index] for index in range(total)]


def unended() -> EngineError:
    """What to raise when an answer finished although one of its choices did not."""
    return EngineError("The engine finished without ending its answer.", hint="Try again.")


def warnings_of(notices: list[Notice]) -> list[dict[str, str]]:
    """Notices as every dialect shows them."""
    return [{"code": notice.code, "message": notice.text} for notice in notices]
