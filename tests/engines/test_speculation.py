"""Guessing tokens: which way is taken for which model, and how an engine is told."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, get_args, get_type_hints

import pytest

from inhouse import config
from inhouse.core.errors import BadRequest, LoadFailed
from inhouse.core.models import SPECULATIVE, Card, CardFile, Footprint, ModelName
from inhouse.dialects.ollama import decode_create
from inhouse.engines import speculation
from inhouse.engines.speculation import AUTO, MODES, NONE, Choice, choose
from inhouse.store.modelfile import declared

CARD = Card(
    ModelName.parse("m"),
    "0" * 64,
    "/models/blob",
    "1" * 64,
    100,
    Footprint(100, 1),
    capabilities=frozenset({"completion", "chat"}),
    parameters=1_500_000_000,
    vocabulary=151_936,
    metadata={"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2"},
)
DRAFT = CardFile("draft", "/models/draft", "draft.gguf", "2" * 64, 10)
PROJECTOR = CardFile("projector", "/models/eyes", "eyes.gguf", "3" * 64, 10)
SMALL = dataclasses.replace(CARD, weights_digest="4" * 64, parameters=500_000_000)


def chosen(card: Card = CARD, wanted: str = AUTO, **given: Any) -> Choice:
    given = {**{"own": "", "tuned": "", "draft": "", "tokens": 4}, **given}
    return choose(card, wanted, **given)


class TestChoosing:
    def test_by_itself_it_guesses_from_the_requests_own_text(self) -> None:
        assert chosen().mode == "ngram"

    def test_a_draft_model_that_came_with_the_model_guesses(self) -> None:
        found = chosen(dataclasses.replace(CARD, files=(DRAFT,)), draft="/models/draft")
        assert (found.mode, found.draft, found.tokens) == ("draft", "/models/draft", 4)

    @pytest.mark.parametrize(
        ("own", "wanted", "tuned", "mode"),
        [
            ("none", "ngram", "ngram-cache", ""),
            ("", "none", "ngram-cache", ""),
            ("", "ngram-map-k", "ngram-cache", "ngram-map-k"),
            ("", AUTO, "ngram-cache", "ngram-cache"),
            ("", AUTO, "none", ""),
            (AUTO, AUTO, "", "ngram"),
        ],
    )
    def test_the_model_comes_before_the_user_and_both_before_what_was_measured(
        self, own: str, wanted: str, tuned: str, mode: str
    ) -> None:
        assert chosen(wanted=wanted, own=own, tuned=tuned).mode == mode

    def test_what_was_measured_and_is_no_more_possible_is_passed_over(self) -> None:
        assert chosen(tuned="draft").mode == "ngram"
        assert chosen(tuned="what nobody knows").mode == "ngram"

    @pytest.mark.parametrize("name", ["draft", "mtp", "nonsense"])
    def test_what_the_model_cannot_have_is_refused_when_somebody_asks_for_it(self, name: str) -> None:
        with pytest.raises(BadRequest):
            chosen(wanted=name)

    def test_heads_of_the_weights_can_guess(self) -> None:
        card = dataclasses.replace(CARD, metadata={"glm4moe.nextn_predict_layers": 1})
        assert chosen(card, "mtp").mode == "mtp"
        assert "mtp" in speculation.possible(card)

    @pytest.mark.parametrize(
        "card",
        [
            dataclasses.replace(CARD, capabilities=frozenset({"embedding"})),
            dataclasses.replace(CARD, files=(PROJECTOR,)),
            dataclasses.replace(CARD, metadata={"mamba.ssm.state_size": 16}),
            dataclasses.replace(CARD, metadata={"rwkv6.wkv.head_size": 64}),
        ],
    )
    def test_nothing_is_guessed_where_a_wrong_guess_is_dear_or_impossible(self, card: Card) -> None:
        assert chosen(card).mode == ""

    def test_images_and_guesses_do_not_go_together(self) -> None:
        with pytest.raises(BadRequest, match="images"):
            chosen(dataclasses.replace(CARD, files=(PROJECTOR,)), "ngram")

    def test_what_is_tried_needs_nothing_that_is_missing(self) -> None:
        assert {"draft", "mtp"}.isdisjoint(speculation.possible(CARD))
        assert speculation.possible(CARD)[0] == NONE
        assert "draft" in speculation.possible(CARD, "/models/draft")

    def test_the_setting_offers_every_mode(self) -> None:
        declared = next(one for one in config.settings() if one.name == "engine.speculative")
        for name in speculation.NAMES:
            assert declared.parse(name) == name


class TestPairs:
    def test_a_smaller_model_with_the_same_tokens_may_guess(self) -> None:
        assert speculation.pairs(CARD, SMALL)

    @pytest.mark.parametrize(
        "change",
        [
            {"weights_digest": CARD.weights_digest},
            {"parameters": 1_000_000_000},
            {"parameters": 0},
            {"vocabulary": 32_000},
            {"metadata": {"tokenizer.ggml.model": "llama"}},
            {"capabilities": frozenset({"embedding"})},
            {"files": (PROJECTOR,)},
            {"format": "safetensors"},
        ],
    )
    def test_any_other_may_not(self, change: dict[str, Any]) -> None:
        assert not speculation.pairs(CARD, dataclasses.replace(SMALL, **change))


class TestTelling:
    @pytest.mark.parametrize("name", list(MODES))
    def test_all_guesses_of_all_slots_fit_into_one_batch(self, name: str) -> None:
        order = Choice(name, "/d" if name == "draft" else "", 6 if MODES[name].needs else 0).order(8)
        longest = 6 if MODES[name].needs else MODES[name].longest
        assert order["logical_batch"] == 8 * (longest + 1)
        values = [v for group in order["guess_fields"].values() for v in group.values()]
        assert all(value <= longest for value in values), "a guess may be longer than was reckoned with"

    def test_no_guesses_leave_the_batch_alone(self) -> None:
        assert Choice().order(8) == {
            "draft": "",
            "draft_tokens": 0,
            "guess": [],
            "guess_fields": {},
            "logical_batch": 0,
        }

    @pytest.mark.parametrize("name", list(MODES))
    def test_the_wheel_has_every_mode_and_parameter(self, name: str) -> None:
        engine = pytest.importorskip("xllamacpp")
        params = engine.CommonParams()
        choice = Choice(name, "", 5 if MODES[name].needs else 0)
        speculation.set_parameters(params.speculative, choice.order(2), engine.common_speculative_type)
        assert [kind.name for kind in params.speculative.types] == [
            "COMMON_SPECULATIVE_TYPE_" + MODES[name].kind.upper().replace("-", "_")
        ]
        for group, values in MODES[name].fields.items():
            for key, value in values.items():
                assert getattr(getattr(params.speculative, group), key) == value
        if MODES[name].needs:
            assert params.speculative.draft.n_max == 5

    def test_without_guesses_the_wheel_keeps_its_own(self) -> None:
        speculation.set_parameters(None, Choice().order(2), None)

    def test_a_native_server_is_told_by_flags(self) -> None:
        known = frozenset(
            {"--spec-type"} | {f"--spec-ngram-simple-{x}" for x in ("size-n", "size-m", "min-hits")}
        )
        found = speculation.arguments(Choice("ngram").order(4), known)
        assert found[:2] == ["--spec-type", "ngram-simple"]
        assert found[found.index("--spec-ngram-simple-size-m") + 1] == str(speculation.LONGEST)

    def test_a_native_server_with_heads_is_told_how_many_tokens(self) -> None:
        found = speculation.arguments(
            Choice("mtp", "", 3).order(1), frozenset({"--spec-type", "--spec-draft-n-max"})
        )
        assert found == ["--spec-type", "draft-mtp", "--spec-draft-n-max", "3"]

    def test_an_old_native_server_goes_without_and_says_so(self) -> None:
        found, notices = speculation.within(Choice("ngram"), frozenset(), asked=False)
        assert found == Choice()
        assert "too old" in notices[0]

    def test_an_old_native_server_refuses_what_was_asked_for(self) -> None:
        with pytest.raises(LoadFailed, match="--spec-type"):
            speculation.within(Choice("ngram"), frozenset(), asked=True)


def test_a_model_can_be_made_with_any_mode() -> None:
    hints = get_type_hints(declared.Engine)
    assert set(get_args(hints["speculative"])) == {"", *speculation.NAMES}
    assert set(SPECULATIVE) == set(speculation.NAMES)
    body = {"model": "new", "from": "old", "engine": {"speculative": "none"}}
    assert decode_create(json.dumps(body).encode()).create.tuning.speculative == "none"
    with pytest.raises(BadRequest):
        decode_create(json.dumps(body | {"engine": {"speculative": "dance"}}).encode())
