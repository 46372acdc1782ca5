"""Plans as the server answers them: for stored models, for the catalogue, for files, for other machines."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from inhouse import config, machine
from inhouse.catalog import Catalog
from inhouse.compose.planning import Planning
from inhouse.compose.scoring import Scoring, heard
from inhouse.core.engine import Launch
from inhouse.core.errors import BadRequest, ModelNotFound, NotFound, Unsupported
from inhouse.core.models import Card, CardFile, Footprint, ModelName
from inhouse.core.requests import Caller
from inhouse.core.usage import Timings, Usage
from inhouse.dialects.inhouse.plan import PlanOrder, decode_plan
from inhouse.engines.exact import Part
from inhouse.engines.recipe import Tuned
from inhouse.ledger import Entry
from inhouse.machine import Bandwidth, Gpu, Machine
from inhouse.planning import History, Where
from inhouse.planning.scoring import formula
from support.tiny_gguf import model as tiny_model

MIB, GIB = 2**20, 2**30
MACHINE = Machine(
    "linux",
    "x86_64",
    "Test CPU",
    8,
    16,
    ("avx2", "avx512f"),
    16 * GIB,
    14 * GIB,
    bandwidth=Bandwidth(read=40 * GIB),
)
CARD = Card(
    ModelName.parse("tiny"),
    "d" * 64,
    "/m.gguf",
    "sha256:w",
    1000,
    Footprint(1000, 32),
    family="llama",
    parameters=500,
    quantization="F32",
    context_length=4096,
    vocabulary=16,
    files=(CardFile("model", "/m.gguf", "m.gguf", "sha256:w", 1000),),
    metadata={
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.embedding_length": 32,
        "llama.feed_forward_length": 64,
        "llama.attention.head_count": 4,
    },
)
FAKE = Card(ModelName.parse("fake"), "f" * 64, "", "", 0, Footprint(0, 0))


class Shelf:
    """A store with one model, whose tensors are read from nowhere."""

    reads = 0

    def name_of(self, text: str) -> ModelName:
        return ModelName.parse(text)

    def get(self, name: ModelName) -> Card:
        if name.key != CARD.name.key:
            raise ModelNotFound(str(name))
        return CARD

    def tensors(self, card: Card) -> list[dict[str, Any]]:
        Shelf.reads += 1
        rows = [("token_embd.weight", [32, 16], 2048), ("output.weight", [32, 16], 2048)]
        rows += [(f"blk.{n}.ffn_up.weight", [32, 64], 8192) for n in range(2)]
        return [{"name": name, "shape": shape, "type": "F32", "size": size} for name, shape, size in rows]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Planning]]:
    made: list[Planning] = []

    def build(here: Machine = MACHINE, free: int = 12 * GIB, build: str = "xllamacpp 1") -> Planning:
        settings = config.load({"INHOUSE_HOME": str(tmp_path)})
        store: Any = Shelf()
        engines: Any = SimpleNamespace(of=lambda card: SimpleNamespace(name="llama.cpp (wheel)", build=build))
        catalog = Catalog(store, (FAKE,))
        found = Planning(
            settings,
            rooms=(store, catalog, engines),
            machine=here,
            free=lambda: free,
            history=History(tmp_path),
        )
        made.append(found)
        return found

    yield build
    for one in made:
        one.history.close()


def test_a_stored_model_is_planned_from_its_tensors(make: Callable[..., Planning]) -> None:
    answer = make().answer(PlanOrder("tiny", context=1024, users=2))
    assert (answer["source"], answer["model"], answer["download"]) == ("stored", "tiny:latest", 0)
    assert (answer["context"], answer["users"]) == (1024, 2)
    assert answer["memory"]["weights"] == 2 * 2048 + 2 * 8192
    assert answer["fits"]
    assert answer["speed"]["basis"] == "nothing"
    assert answer["machine"]["here"]


def test_its_header_is_read_once(make: Callable[..., Planning]) -> None:
    planning, before = make(), Shelf.reads
    for _ in range(3):
        planning.answer(PlanOrder("tiny"))
    assert Shelf.reads == before + 1


def test_a_model_of_the_catalogue_is_planned_before_it_is_here(make: Callable[..., Planning]) -> None:
    answer = make().answer(PlanOrder("qwen2.5:7b", context=8192, users=1))
    assert answer["source"] == "catalogue"
    assert answer["download"] == 4_683_074_240
    assert answer["memory"]["kv"] == 28 * 2 * 512 * 2 * 8192
    assert answer["memory"]["weights"] == pytest.approx(4_683_074_240, rel=0.005)
    assert answer["memory"]["rearranged"] > 2 * GIB
    assert answer["speed"]["decode"]["low"] < answer["speed"]["decode"]["high"]


def test_what_is_not_known_of_a_model_is_said(make: Callable[..., Planning]) -> None:
    answer = make().answer(PlanOrder("gpt-oss:20b"))
    assert any("not known" in note for note in answer["notes"])
    assert answer["memory"]["weights"] == 12_109_566_624


def test_what_does_not_fit_is_told_with_remedies(make: Callable[..., Planning]) -> None:
    answer = make(free=3 * GIB).answer(PlanOrder("qwen2.5:7b", context=32_768, users=4))
    assert not answer["fits"]
    assert answer["context"] == 32_768
    assert answer["advice"]
    assert any("--quant" in text or "smaller" in text for text in answer["advice"])


def test_without_wishes_it_is_planned_as_the_server_would_load_it(make: Callable[..., Planning]) -> None:
    roomy = make().answer(PlanOrder("qwen2.5:0.5b"))
    tight = make(free=700 * MIB).answer(PlanOrder("qwen2.5:0.5b"))
    assert roomy["users"] > tight["users"] == 1
    assert tight["fits"]


def test_a_context_beyond_the_trained_one_is_cut_and_said(make: Callable[..., Planning]) -> None:
    answer = make().answer(PlanOrder("tiny", context=9000))
    assert answer["context"] == 4096
    assert any("9,000" in note for note in answer["notes"])


def test_another_quantisation_changes_size_and_speed(make: Callable[..., Planning]) -> None:
    planning = make()
    own, other = (planning.answer(PlanOrder("qwen2.5:7b", users=1, quant=kind)) for kind in ("", "q8_0"))
    assert other["quantization"] == "Q8_0"
    assert other["size"] > 1.6 * own["size"]
    assert other["speed"]["decode"]["high"] < own["speed"]["decode"]["high"]


def test_another_cache_type_takes_less(make: Callable[..., Planning]) -> None:
    planning = make()
    plain, small = (planning.answer(PlanOrder("qwen2.5:7b", kv_type=kind, users=1)) for kind in ("", "q4_0"))
    assert small["memory"]["kv"] < 0.3 * plain["memory"]["kv"]


def test_another_machine_is_planned_with_its_memory_and_its_gpu(make: Callable[..., Planning]) -> None:
    gpu = Gpu("nvidia", "NVIDIA H100 80GB HBM3", memory=80 * GIB, free=79 * GIB)
    other = dataclasses.replace(MACHINE, cpu="Other", gpus=(gpu,), memory_total=256 * GIB)
    answer = make().answer(PlanOrder("llama3.3:70b", users=1, machine={"machine": machine.to_json(other)}))
    assert not answer["machine"]["here"]
    assert answer["machine"]["cpu"] == "Other"
    assert answer["gpu_layers"] == 81
    assert [one["name"] for one in answer["devices"]] == ["CPU", "NVIDIA H100 80GB HBM3"]
    assert answer["fits"]
    assert answer["speed"]["decode"]["high"] > 20
    assert any("supposed" in note for note in answer["notes"])


def test_a_gpu_that_the_engine_cannot_use_is_told_and_not_counted(make: Callable[..., Planning]) -> None:
    here = dataclasses.replace(MACHINE, gpus=(Gpu("nvidia", "Card", memory=8 * GIB),))
    answer = make(here).answer(PlanOrder("tiny"))
    assert answer["gpu_layers"] == 0
    assert any("on the processor" in note for note in answer["notes"])


def test_the_wheel_does_not_use_avx512(make: Callable[..., Planning]) -> None:
    order = PlanOrder("qwen2.5:7b", quant="Q2_K", users=1)
    wheel = make().answer(order)["memory"]["rearranged"]
    native = make(build="llama-server b1").answer(order)["memory"]["rearranged"]
    assert native > wheel


def test_quantisations_are_compared_and_drawn(make: Callable[..., Planning]) -> None:
    answer = make().answer(PlanOrder("qwen2.5:7b", users=1, quants=True, picture=True))
    rows = {row["quantization"]: row for row in answer["quants"]}
    assert rows["Q8_0"]["size"] > rows["Q4_K_M"]["size"] > rows["Q2_K"]["size"]
    assert rows["Q4_K_M"]["bits"] == pytest.approx(4.9, abs=0.1)
    assert not rows["F16"]["fits"]
    assert rows["F16"]["quality"] is None
    assert ElementTree.fromstring(answer["picture"]).tag.endswith("svg")


def test_a_single_plan_can_be_drawn_too(make: Callable[..., Planning]) -> None:
    answer = make().answer(PlanOrder("tiny", picture=True))
    assert "KV cache" in answer["picture"]


def test_a_file_is_planned_by_its_path(make: Callable[..., Planning], tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_model())
    answer = make().answer(PlanOrder(path=str(path)))
    assert (answer["source"], answer["model"]) == ("file", "model.gguf")
    assert answer["memory"]["weights"] > 0


@pytest.mark.parametrize(
    "order, error",
    [
        (PlanOrder("no-such-model"), ModelNotFound),
        (PlanOrder("fake"), Unsupported),
        (PlanOrder("tiny", kv_type="f7"), BadRequest),
        (PlanOrder("tiny", quant="Q9"), BadRequest),
        (PlanOrder("gpt-oss:20b", quant="Q4_K_M"), Unsupported),
        (PlanOrder("tiny", machine={"cpu": 3}), BadRequest),
        (PlanOrder("qwen2.5:7b", exact=True), BadRequest),
        (PlanOrder(path="/no/such/file.gguf"), NotFound),
        (PlanOrder(path="relative.gguf"), BadRequest),
    ],
)
def test_what_cannot_be_planned_is_refused(
    make: Callable[..., Planning], order: PlanOrder, error: type
) -> None:
    with pytest.raises(error):
        make().answer(order)


def test_the_engines_own_reckoning_stands_beside_the_formula_and_is_learnt(
    make: Callable[..., Planning], monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[dict[str, Any]] = []

    def reckon(order: dict[str, Any], environ: object) -> tuple[Part, ...]:
        orders.append(order)
        return (Part("Host", 50 * MIB, 10 * MIB, 5 * MIB),)

    monkeypatch.setattr("inhouse.compose.planning.exact.reckon", reckon)
    planning = make()
    answer = planning.answer(PlanOrder("tiny", context=1024, users=2, exact=True))
    assert answer["exact"]["total"] == 65 * MIB
    assert answer["exact"]["off"] == pytest.approx((answer["exact"]["formula"] - 65 * MIB) / (65 * MIB))
    assert (orders[0]["context_length"], orders[0]["slots"], orders[0]["model"]) == (1024, 2, "/m.gguf")
    planning.history.flush()
    kept = answer["memory"]["weights"] + answer["memory"]["kv"]
    assert planning.answer(PlanOrder("tiny", context=1024, users=2))["memory"]["learnt"] == 60 * MIB - kept


# -- what came of it --------------------------------------------------------------------------------------


TIMES = itertools.count(0.0, 10.0)


def entry(answer: int = 100, decode: float = 2.0, **usage: int) -> Entry:
    one = Entry(Caller("r"), "tiny", "chat", lambda entry: None)
    one.model = "tiny:latest"
    one.usage = Usage(prompt_tokens=600, completion_tokens=answer, **usage)
    one.timings = Timings(prefill=3.0, decode=decode)
    one.opened = next(TIMES)
    one.close()
    one.closed = one.opened + 6
    return one


def loaded(busy: int = 0, state: str = "ready") -> list[Any]:
    facts = {"build": "xllamacpp 1", "context_length": 4096, "slots": 4}
    return [
        SimpleNamespace(card=CARD, busy=busy, state="ready", **facts),
        SimpleNamespace(card=FAKE, busy=0, state=state, **facts),
    ]


def scoring(planning: Planning, busy: int = 0, state: str = "ready") -> Scoring:
    return Scoring(planning, lambda: loaded(busy, state))


def rates(planning: Planning) -> tuple[float, float]:
    """What was measured of (decode, prefill), 0 for nothing."""
    name = machine.fingerprint(MACHINE)
    records = [planning.history.record(what, name).count for what in ("decode", "prefill")]
    return records[0], records[1]


def test_a_request_teaches_how_fast_the_model_is(make: Callable[..., Planning]) -> None:
    planning = make()
    scores, order = scoring(planning), PlanOrder("tiny", context=4096, users=1, prompt=600)
    wide = planning.answer(order)["speed"]
    for _ in range(3):
        scores.note(entry())
    scores.flush()
    narrow = planning.answer(order)
    assert narrow["speed"]["basis"] == "this model"
    assert narrow["speed"]["decode"]["low"] < 50 < narrow["speed"]["decode"]["high"]
    assert narrow["speed"]["prefill"]["low"] < 200 < narrow["speed"]["prefill"]["high"]
    spread = narrow["speed"]["decode"]["high"] / narrow["speed"]["decode"]["low"]
    assert spread < wide["decode"]["high"] / wide["decode"]["low"] / 2
    assert {one["what"]: one["count"] for one in narrow["record"]} == {"memory": 0, "decode": 3, "prefill": 3}


@pytest.mark.parametrize("others", [{"busy": 1}, {"busy": 3}, {"state": "loading"}])
def test_a_request_that_shared_the_machine_teaches_nothing(
    make: Callable[..., Planning], others: dict[str, Any]
) -> None:
    planning = make()
    scores = scoring(planning, **others)
    scores.note(entry())
    scores.flush()
    assert rates(planning) == (0, 0)


def test_a_request_that_overlapped_another_teaches_nothing(make: Callable[..., Planning]) -> None:
    planning = make()
    scores = scoring(planning)
    early, late = entry(), entry()
    early.opened = late.opened = 10.0
    early.closed, late.closed = 20.0, 30.0
    scores.note(early)
    scores.note(late)
    scores.flush()
    assert rates(planning) == (1, 1)


def test_choices_side_by_side_teach_nothing(make: Callable[..., Planning]) -> None:
    planning = make()
    scores = scoring(planning)
    scores.note(entry(answer=400, decode=5.5 * 4))
    scores.flush()
    assert rates(planning) == (0, 0)


def test_short_answers_and_guessed_ones_say_nothing_of_decoding(make: Callable[..., Planning]) -> None:
    planning = make()
    scores = scoring(planning)
    scores.note(entry(answer=3))
    scores.note(entry(drafted_tokens=90, accepted_tokens=60))
    scores.flush()
    assert rates(planning) == (0, 2)


def test_guesses_that_were_mostly_wrong_do_not_matter(make: Callable[..., Planning]) -> None:
    planning = make()
    scores = scoring(planning)
    scores.note(entry(drafted_tokens=90, accepted_tokens=2))
    scores.flush()
    assert rates(planning) == (1, 1)


def test_prompts_from_the_cache_say_nothing_of_prefill(make: Callable[..., Planning]) -> None:
    planning = make()
    scores = scoring(planning)
    scores.note(entry(cached_tokens=590))
    scores.flush()
    assert rates(planning) == (1, 0)


def test_failed_and_foreign_requests_are_not_heard() -> None:
    failed = Entry(Caller("r"), "m", "chat", lambda one: None)
    failed.close(NotFound("no"))
    embedding = Entry(Caller("r"), "m", "embed", lambda one: None)
    embedding.close()
    assert heard(failed) is None
    assert heard(embedding) is None
    assert heard(entry()) is not None


def test_an_entry_goes_on_to_whom_it_was_for(make: Callable[..., Planning]) -> None:
    got: list[Entry] = []
    one = entry()
    scoring(make()).hearing(got.append)(one)
    assert got == [one]


def launch(address: str = "/run/1.sock", engine: str = "llama.cpp") -> Launch:
    return Launch(engine, (), address, slots=2, context_length=1024, build="xllamacpp 1")


def test_a_load_is_held_against_its_prediction_and_corrects_the_next(make: Callable[..., Planning]) -> None:
    planning = make()
    scores, order = scoring(planning), PlanOrder("tiny", context=1024, users=2)
    plain = planning.answer(order)["memory"]["resident"]
    found = planning.subjects.stored(CARD)
    rest = formula(found, planning.load_of(found, planning.here(CARD), order))
    scores.measured(CARD, launch(), rest + 10 * MIB)
    scores.measured(CARD, launch(), rest + 500 * MIB)  # the same worker, later
    scores.flush()
    answer = planning.answer(order)
    assert answer["memory"]["resident"] == plain + 10 * MIB
    (record, *_) = answer["record"]
    assert (record["what"], record["count"]) == ("memory", 1)
    assert record["median"] == pytest.approx(10 * MIB / (rest + 10 * MIB))


def test_loads_of_other_engines_are_left_alone(make: Callable[..., Planning]) -> None:
    planning = make()
    scores = scoring(planning)
    scores.measured(CARD, launch(engine="transformers"), GIB)
    scores.measured(FAKE, launch("/run/2.sock"), GIB)  # nothing to plan: said in the log, not raised
    scores.flush()
    assert planning.history.record("memory", machine.fingerprint(MACHINE)).count == 0


def test_copies_for_trials_are_left_alone(make: Callable[..., Planning]) -> None:
    planning = make()
    scores = scoring(planning)
    scores.measured(dataclasses.replace(CARD, digest="e" * 64), launch(), GIB)
    scores.measured(dataclasses.replace(CARD, name=ModelName.parse("trial-1")), launch("/run/3.sock"), GIB)
    scores.flush()
    assert planning.history.record("memory", machine.fingerprint(MACHINE)).count == 0


def test_what_was_tuned_for_a_model_is_planned_with(make: Callable[..., Planning]) -> None:
    planning = make()
    plain = planning.answer(PlanOrder("tiny", users=1))
    planning._tune = lambda card, recipe, room: (
        card,
        dataclasses.replace(room, tuned=Tuned(kv_cache_type="q8_0", batch=32)),
    )
    tuned = planning.answer(PlanOrder("tiny", users=1))
    assert (plain["kv_type"], tuned["kv_type"]) == ("f16", "q8_0")
    assert planning.answer(PlanOrder("tiny", users=1, kv_type="q4_0"))["kv_type"] == "q4_0"


def test_after_the_end_nothing_is_written(make: Callable[..., Planning]) -> None:
    planning = make()
    scores = scoring(planning)
    scores.close()
    scores.note(entry())
    scores.flush()
    scores.close()
    assert rates(planning) == (0, 0)


@pytest.mark.parametrize(
    "other", [PlanOrder("tiny", users=1, quant="Q4_0"), PlanOrder("tiny", users=1, kv_type="q4_0")]
)
def test_a_plan_for_another_kind_of_load_is_not_held_against_what_is_loaded(
    make: Callable[..., Planning], other: PlanOrder
) -> None:
    planning = make()
    planning.answer(other)
    scores = scoring(planning)
    scores.note(entry())
    scores.flush()
    where = Where(machine.fingerprint(MACHINE))
    kept = planning.history.scores("decode", where)
    assert [(score.quantization, score.size) for score in kept] == [("F32", 600)]


def test_a_memory_that_cannot_be_measured_is_not_measured_with_every_plan(
    make: Callable[..., Planning], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Machine] = []

    def measured(found: Machine, home: Path) -> Machine:
        tries.append(found)
        return dataclasses.replace(
            found, troubles=(*found.troubles, machine.Trouble("memory bandwidth", "no"))
        )

    monkeypatch.setattr("inhouse.compose.planning.speed.measured", measured)
    planning = make(here=dataclasses.replace(MACHINE, bandwidth=Bandwidth()))
    for _ in range(3):
        assert planning.answer(PlanOrder("tiny"))["speed"] is None
    assert len(tries) == 1


def test_gpus_of_one_name_are_drawn_one_by_one(make: Callable[..., Planning]) -> None:
    gpus = (Gpu("nvidia", 'NVIDIA <L4> & "co"', 24 * GIB, 23 * GIB),) * 2
    other = machine.to_json(dataclasses.replace(MACHINE, gpus=gpus))
    picture = ElementTree.fromstring(make().answer(PlanOrder("tiny", machine=other, picture=True))["picture"])
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text and "L4" in text] == [
        'NVIDIA <L4> & "co" (1)',
        'NVIDIA <L4> & "co" (2)',
    ]


# -- the body ---------------------------------------------------------------------------------------------


def test_a_body_is_read() -> None:
    order = decode_plan(b'{"model": "m", "context": 5, "users": 2, "kv_type": "Q8_0", "prompt": 9}')
    assert order == PlanOrder("m", context=5, users=2, kv_type="q8_0", prompt=9)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"model": "m", "path": "/x"}',
        b'{"model": "m", "users": 0}',
        b'{"model": "m", "colour": 1}',
    ],
)
def test_a_body_that_makes_no_sense_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        decode_plan(body)
