"""Speculative decoding: which ways of guessing tokens llama.cpp has, what each needs, how it is asked for.

A guess is checked by the model itself, all tokens of it in one go, so an answer stays what it would be
(but for ties that another batch size decides otherwise); a wrong guess costs the time of checking it.
Names and parameters are those of llama.cpp's common/speculative.cpp and docs/speculative.md (b11434). Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..core.errors import BadRequest, LoadFailed
from ..core.models import Card

NONE: Final = "none"
AUTO: Final = "auto"

LONGEST: Final = 24
"""Tokens guessed in one go from what was said before."""


@dataclass(frozen=True, slots=True)
class Mode:
    """One way of guessing. ``kind`` is llama.cpp's name, ``fields`` its parameters by group, ``longest`` the
    most tokens of one guess, ``needs`` what a model must bring: draft (a second model), heads or nothing."""

    name: str
    kind: str
    longest: int
    needs: str = ""
    fields: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


MODES: Final[dict[str, Mode]] = {
    mode.name: mode
    for mode in (
        # Looks for the last 8 tokens in this request's own tokens, and guesses what followed them there.
        Mode(
            "ngram",
            "ngram-simple",
            LONGEST,
            fields={"ngram_simple": {"size_n": 8, "size_m": LONGEST, "min_hits": 1}},
        ),
        Mode(
            "ngram-map-k",
            "ngram-map-k",
            LONGEST,
            fields={"ngram_map_k": {"size_n": 8, "size_m": LONGEST, "min_hits": 1}},
        ),
        Mode(
            "ngram-map-k4v",
            "ngram-map-k4v",
            LONGEST,
            fields={"ngram_map_k4v": {"size_n": 8, "size_m": LONGEST, "min_hits": 1}},
        ),
        # One table of n-grams for all requests of the model: how fast one is answered tells of the others.
        Mode("ngram-mod", "ngram-mod", 24, fields={"ngram_mod": {"n_match": 12, "n_min": 2, "n_max": 24}}),
        Mode("ngram-cache", "ngram-cache", 8),
        Mode("draft", "draft-simple", 4, needs="draft"),
        Mode("mtp", "draft-mtp", 3, needs="heads"),
    )
}

NAMES: Final = (AUTO, NONE, *MODES)
"""What a setting may say."""

SHARES: Final = frozenset({"ngram-mod"})
"""Modes whose guesses for one request come from others, too; never chosen by themselves."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How one worker guesses. ``mode`` is "" for not at all; ``draft`` the path of the draft model."""

    mode: str = ""
    draft: str = ""
    tokens: int = 0

    @property
    def longest(self) -> int:
        """The most tokens of one guess."""
        if not self.mode:
            return 0
        mode = MODES[self.mode]
        return self.tokens if mode.needs and self.tokens else mode.longest

    def order(self, slots: int) -> dict[str, Any]:
        """Fields of a worker's order. ``logical_batch``: llama.cpp aborts when the guesses of all slots,
        each with the token they follow, do not fit into one batch."""
        fields: dict[str, dict[str, int]] = {}
        kinds: list[str] = []
        if self.mode:
            mode = MODES[self.mode]
            kinds = [mode.kind]
            fields = {group: dict(values) for group, values in mode.fields.items()}
        return {
            "draft": self.draft,
            "draft_tokens": self.tokens,
            "guess": kinds,
            "guess_fields": fields,
            "logical_batch": slots * (1 + self.longest) if self.mode else 0,
        }


def choose(card: Card, wanted: str, *, own: str, tuned: str, draft: str, tokens: int) -> Choice:
    """How to guess: what the model itself asks for (``own``), else what the user set (``wanted``), else
    what was measured (``tuned``), else what is safe. ``draft`` is the path of a draft model, "" without,
    ``tokens`` the guesses of one.

    Raises BadRequest when somebody asked for a mode that this model cannot have.
    """
    for name, by in ((own, "The model"), (wanted, "INHOUSE_SPECULATIVE")):
        if name not in ("", AUTO):
            return _asked(card, name, by, draft, tokens)
    if tuned and tuned in NAMES and tuned != AUTO and not _missing(card, tuned, draft):
        return _made(tuned, draft, tokens)
    if draft and card.of_role("draft"):
        return _made("draft", draft, tokens)
    return _made("ngram" if safe(card) else NONE, "", 0)


def _asked(card: Card, name: str, by: str, draft: str, tokens: int) -> Choice:
    if name not in NAMES:
        raise BadRequest(
            f"{by} asks for an unknown way of guessing tokens: {name[:40]}",
            hint=f"There are: {', '.join(NAMES)}.",
            param="model",
        )
    if missing := _missing(card, name, draft):
        raise BadRequest(
            f"{by} asks for guessing tokens with '{name}', but {missing}.",
            hint="Use ngram, which needs nothing, or none.",
            param="model",
        )
    return _made(name, draft, tokens)


def _made(name: str, draft: str, tokens: int) -> Choice:
    if name == NONE:
        return Choice()
    if MODES[name].needs == "draft":
        return Choice(name, draft, tokens or MODES[name].longest)
    return Choice(name, "", tokens if MODES[name].needs else 0)


def _missing(card: Card, name: str, draft: str) -> str:
    """Why the model cannot have a mode, "" if it can."""
    if name == NONE:
        return ""
    if "completion" not in card.capabilities:
        return "it generates no text"
    if card.of_role("projector"):
        return "it reads images, which the engine cannot do while it guesses"
    needs = MODES[name].needs if name in MODES else ""
    if needs == "draft" and not draft:
        return "it has no draft model"
    if needs == "heads" and not heads(card):
        return "its weights have no heads for further tokens"
    return ""


def safe(card: Card) -> bool:
    """Whether guessing from the request's own tokens costs next to nothing: a wrong guess is simply
    forgotten by attention, while a recurrent state has to be copied and restored."""
    return not _missing(card, "ngram", "") and not recurrent(card)


def heads(card: Card) -> int:
    """Layers of the weights that predict further tokens (multi-token prediction), 0 for none."""
    found = next((v for k, v in card.metadata.items() if k.endswith(".nextn_predict_layers")), 0)
    return found if isinstance(found, int) and found > 0 else 0


def recurrent(card: Card) -> bool:
    """Whether the model keeps a state beside or instead of attention (Mamba, RWKV and hybrids)."""
    return any(".ssm." in key or ".wkv." in key for key in card.metadata)


def possible(card: Card, draft: str = "") -> tuple[str, ...]:
    """The modes that can be tried on a model, beginning with none."""
    modes = (name for name in MODES if not _missing(card, name, draft))
    return (NONE, *modes)


def pairs(target: Card, draft: Card) -> bool:
    """Whether ``draft`` may guess for ``target``: the same tokens, and far less work."""
    same = ("tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.bos_token_id")
    return (
        target.weights_digest != draft.weights_digest
        and target.format == draft.format == "gguf"
        and "completion" in draft.capabilities
        and not draft.of_role("projector")
        and 0 < draft.parameters * 2 < target.parameters
        and target.vocabulary > 0
        # llama.cpp's own bound on how far the sizes of two vocabularies may be apart
        and abs(target.vocabulary - draft.vocabulary) <= 128
        and all(target.metadata.get(key) == draft.metadata.get(key) for key in same)
    )


def set_parameters(speculative: Any, order: Mapping[str, Any], types: Any) -> None:
    """Write an order into the wheel's ``CommonParams.speculative``; ``types`` is its enumeration."""
    if not order["guess"]:
        return
    names = [f"COMMON_SPECULATIVE_TYPE_{kind.upper().replace('-', '_')}" for kind in order["guess"]]
    speculative.types = [getattr(types, name) for name in names]
    for group, values in order["guess_fields"].items():
        for name, value in values.items():
            setattr(getattr(speculative, group), name, value)
    if order["draft_tokens"]:
        speculative.draft.n_max = order["draft_tokens"]


def arguments(order: Mapping[str, Any], known: frozenset[str]) -> list[str]:
    """The same as flags of llama-server, but for those of a draft model. Raises LoadFailed where this
    version has not what is asked for."""
    kinds = [kind for kind in order["guess"] if kind != "draft-simple"]
    if not kinds:
        return []
    out = [_known("--spec-type", known), ",".join(kinds)]
    for group, values in order["guess_fields"].items():
        for name, value in values.items():
            out += [_known(f"--spec-{group}-{name}".replace("_", "-"), known), str(value)]
    if order["draft_tokens"]:
        out += [_known("--spec-draft-n-max", known), str(order["draft_tokens"])]
    return out


def within(choice: Choice, known: frozenset[str], *, asked: bool) -> tuple[Choice, tuple[str, ...]]:
    """``choice`` as far as a llama-server with the flags ``known`` can do it, and what to tell a person.
    What nobody ``asked`` for is left out; otherwise raises LoadFailed."""
    if not choice.mode or MODES[choice.mode].needs == "draft":
        return choice, ()
    try:
        arguments(choice.order(1), known)
    except LoadFailed:
        if asked:
            raise
        return Choice(), ("This llama-server is too old to guess tokens; newer ones copy texts faster.",)
    return choice, ()


def _known(flag: str, known: frozenset[str]) -> str:
    if flag in known:
        return flag
    raise LoadFailed(
        f"This llama-server cannot guess tokens as asked: it lacks {flag}.",
        hint="Update llama.cpp, or set INHOUSE_SPECULATIVE=none.",
    )
