"""What can be asked of a model. A new task is a new class here and an encoder in a dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .messages import Format, Message, Sampling, Tool, ToolChoice
from .models import Card


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: ``tenant`` is what fairness counts by, ``endpoint`` the path of the route. ``deadline``:
    when the answer is of no use any more, in seconds of ``time.monotonic``; None never."""

    request_id: str
    tenant: str = ""
    dialect: str = ""
    endpoint: str = ""
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Options that belong to the loading of a model; changing them may reload it.

    ``context_length`` is tokens per slot, ``gpu_layers`` -1 or None for automatic, 0 for CPU only.
    ``grammar``: a notation that the engine must enforce (lark), which not every build does. ``unguessed``:
    tokens must not be guessed ahead, since the engine tells no log-probabilities of right guesses.
    """

    context_length: int | None = None
    batch: int | None = None
    gpu_layers: int | None = None
    threads: int | None = None
    use_mmap: bool | None = None
    grammar: str | None = None
    unguessed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a request wants of the fleet: ``weight`` slots of a model loaded as ``load`` says.

    ``work`` is the estimated effort in tokens (prompt and answer), which fairness counts; ``keep_alive``
    and ``priority`` are the request's, ``deadline`` the caller's. ``request_id`` is for the journal.
    """

    load: LoadOptions
    tenant: str = ""
    weight: int = 1
    work: int = 1
    keep_alive: float | None = None
    priority: int = 0
    deadline: float | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """``model`` as the client wrote it. ``keep_alive`` seconds the model stays loaded afterwards;
    ``inf`` is for ever, None the server's default. ``priority`` in the queue: 1 before 0 before -1.
    ``pin`` seconds for which the prompt's KV cache is wanted again. ``adapters``: (digest, scale) of the
    LoRA adapters to answer with, for this request alone; names stand in place of digests until the
    catalogue has read them. ``tenant`` is the caller's, for what is kept of a prompt. ``target``: the model
    that answers, where its worker was started for another that has the same weights."""

    model: str
    load: LoadOptions = field(default_factory=LoadOptions)
    keep_alive: float | None = None
    priority: int = 0
    pin: float | None = None
    adapters: tuple[tuple[str, float], ...] = ()
    tenant: str = ""
    target: Card | None = None

    @property
    def width(self) -> int:
        """How many answers are made side by side."""
        return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat(Common):
    """``logprobs`` None is off, else the number of alternatives (0..20).

    ``think`` None leaves it to the model; a string is an effort level. ``truncate`` lets the engine
    drop the oldest messages (with a Notice) instead of refusing. ``context`` are token ids put
    before the rendered prompt; ``want_context`` asks for them back in Finished.

    ``think_budget`` is the most reasoning tokens. ``think_wish`` stands in for a ``think`` that says
    nothing, on models that can think; others go without. ``template`` (Jinja) renders this chat instead
    of the model's own, with ``template_args`` as further variables; ``prompt`` is a rendering made already.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    parallel_tool_calls: bool | None = None
    format: Format | None = None
    sampling: Sampling = field(default_factory=Sampling)
    n: int = 1
    logprobs: int | None = None
    think: bool | str | None = None
    truncate: bool = False
    context: tuple[int, ...] | None = None
    want_context: bool = False
    think_budget: int | None = None
    think_wish: bool | str | None = None
    template: str | None = None
    template_args: Mapping[str, Any] = field(default_factory=dict)
    prompt: str | None = None

    @property
    def width(self) -> int:
        return self.n


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete(Common):
    """Raw text completion. A prompt is text or token ids. ``suffix`` asks for fill-in-the-middle.

    Choice ``index`` is prompt * n + i. ``best_of`` candidates are made for each prompt and the ``n``
    with the highest mean log-probability given; None: as many as ``n``.
    """

    prompts: tuple[str | tuple[int, ...], ...]
    suffix: str | None = None
    echo: bool = False
    format: Format | None = None
    sampling: Sampling = field(default_factory=Sampling)
    n: int = 1
    best_of: int | None = None
    logprobs: int | None = None
    truncate: bool = False
    want_context: bool = False

    @property
    def width(self) -> int:
        return max(self.n, self.best_of or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Embed(Common):
    """``dimensions``: keep the first N values and normalise again. ``truncate`` cuts long inputs."""

    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    truncate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerank(Common):
    """How well texts fit together: one Ranked for each (query, document) pair. A reranking model
    reads both at once; an embedding model gives the cosine of their vectors.

    ``truncate`` cuts a document that is too long at its end, ``longest`` cuts every one to so many
    tokens. ``params`` are the fields that queries and documents came in, for errors.
    """

    pairs: tuple[tuple[str, str], ...]
    truncate: bool = False
    longest: int | None = None
    params: tuple[str, str] = ("query", "documents")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenize(Common):
    """Token ids of a text (Tokens). ``special`` adds what the model puts around a text, ``control``
    reads the texts of control tokens as such."""

    text: str
    special: bool = True
    control: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Detokenize(Common):
    """The text of token ids (TextDelta)."""

    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Render(Common):
    """What a chat is for the model: its prompt (Rendered), the ids of that (Tokens) and, as usage, how
    many they are. Nothing is generated. ``model`` is the chat's. ``pieces`` asks for the tokens' bytes."""

    chat: Chat
    pieces: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Load(Common):
    """Only load the model (and set its keep-alive)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unload(Common):
    """Stop the model once its running requests are done."""


Request = Chat | Complete | Embed | Rerank | Tokenize | Detokenize | Render | Load | Unload
