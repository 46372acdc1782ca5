"""What an engine says while it runs a request.

    Started · (Progress | Notice | TextDelta | ReasoningDelta | ToolCallDelta | Vector | Ranked
            | Tokens | Rendered)* · ChoiceEnd* · Finished

The whole answer is a fold of this stream. A stream without ``Finished`` is an error.
``index`` is the choice (``n`` > 1, several prompts) or the input (embeddings).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .usage import Step, Timings, Usage

Reason = Literal["stop", "length", "tool_calls", "load", "unload"]


@dataclass(frozen=True, slots=True)
class Started:
    """The engine took the request. ``load`` and ``queue`` are the seconds spent before that; ``build`` is
    the engine's build, "" where it is not known."""

    load: float = 0.0
    queue: float = 0.0
    build: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """Prefill progress in prompt tokens."""

    processed: int
    total: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should know that is not an error, e.g. a shortened prompt."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class TopLogprob:
    token: str
    logprob: float
    bytes: bytes


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Log-probability (natural) of a sampled token and of the likeliest alternatives."""

    token: str
    logprob: float
    bytes: bytes
    top: tuple[TopLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str
    index: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    text: str
    index: int = 0


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """``call`` numbers the calls of one choice; the first delta of a call has id and name."""

    call: int
    arguments: str
    id: str | None = None
    name: str | None = None
    index: int = 0


@dataclass(frozen=True, slots=True)
class Vector:
    """One embedding, L2-normalised; ``index`` is the input's place."""

    index: int
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Ranked:
    """The relevance of one pair, ``index`` its place. ``score`` is the model's raw figure (a logit of a
    reranking model, a cosine of an embedding model); ``relevance`` the same as 0..1."""

    index: int
    score: float
    relevance: float


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids with the bytes of each. ``context_length``: tokens the model takes at once, 0 if unknown."""

    ids: tuple[int, ...]
    pieces: tuple[bytes, ...] = ()
    context_length: int = 0


@dataclass(frozen=True, slots=True)
class Rendered:
    """The prompt as the model would read it; ``images`` stand as markers in it."""

    prompt: str
    images: int = 0


@dataclass(frozen=True, slots=True)
class ChoiceEnd:
    """A choice is complete. ``stop`` is the stop string that was hit, if any."""

    reason: Reason
    index: int = 0
    stop: str | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The end. ``context``: all token ids of prompt and answer, when the request asked for them.
    ``steps``: what the engine's side did for the request beside computing it."""

    usage: Usage
    timings: Timings
    context: tuple[int, ...] | None = None
    steps: tuple[Step, ...] = ()


Event = (
    Started
    | Progress
    | Notice
    | TextDelta
    | ReasoningDelta
    | ToolCallDelta
    | Vector
    | Ranked
    | Tokens
    | Rendered
    | ChoiceEnd
    | Finished
)
