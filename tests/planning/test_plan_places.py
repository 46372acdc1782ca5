"""Where a plan is made for: what the engine can use there, and the rates that are supposed."""

from __future__ import annotations

import dataclasses

from inhouse.core.models import Card, Footprint, ModelName
from inhouse.machine import Bandwidth, Gpu, Machine, fingerprint
from inhouse.machine.budget import budget
from inhouse.machine.footprint import Load
from inhouse.planning import Range, Rate
from inhouse.planning.found import Found
from inhouse.planning.places import Place, elsewhere, here

GIB = 2**30
MACHINE = Machine("linux", "x86_64", "A CPU", 8, 16, ("avx2", "avx512f"), 16 * GIB, 10 * GIB)
L4, UNKNOWN = Gpu("nvidia", "NVIDIA L4", memory=24 * GIB), Gpu("other", "Nothing known", memory=GIB)
LEARNT = Rate(Range(1.0, 2.0), "this model", 3)


def on(*gpus: Gpu, variant: str = "wheel") -> Place:
    machine = dataclasses.replace(MACHINE, gpus=gpus)
    return here(machine, 5 * GIB, "b1", variant=variant, portable=False)


def test_gpus_count_only_where_the_build_computes_on_them() -> None:
    assert on(L4, variant="llama.cpp (CUDA) b1").gpus == (L4,)
    plain = on(L4)
    assert plain.gpus == ()
    assert "on the processor" in plain.notes[0]
    assert on().notes == ()


def test_another_machine_has_its_share_of_memory_and_its_gpus() -> None:
    place = elsewhere(dataclasses.replace(MACHINE, gpus=(L4,)), "b1", portable=False)
    assert (place.here, place.free, place.gpus) == (False, budget(MACHINE), (L4,))
    assert "supposed" in place.notes[0]
    assert elsewhere(MACHINE, "b1", portable=False).notes == ()


def test_a_portable_build_does_without_avx512() -> None:
    place = on()
    assert place.features == {"avx2", "avx512f"}
    assert dataclasses.replace(place, portable=True).features == {"avx2"}


def test_predictions_are_kept_by_machine_build_model_and_quantisation() -> None:
    card = Card(ModelName.parse("m"), "d", "/m", "w", 1, Footprint(1, 1), quantization="Q8_0")
    where = on().where(Found(card, (), "stored"))
    assert (where.machine, where.build) == (fingerprint(MACHINE), "b1")
    assert (where.digest, where.quantization) == ("d", "Q8_0")


def test_speeds_are_kept_apart_by_the_type_of_the_cache() -> None:
    found = Found(Card(ModelName.parse("m"), "d", "/m", "w", 1, Footprint(1, 1)), (), "stored")
    plain = on().rates(found, Load(2048, 1))
    assert plain == on().where(found)
    quantised = on().rates(found, Load(2048, 1, k_type="q8_0", v_type="q8_0"))
    assert quantised.build != plain.build
    assert quantised.digest == plain.digest


def test_what_is_usual_knows_of_our_kernels() -> None:
    able = dataclasses.replace(
        MACHINE, bandwidth=Bandwidth(read=40 * GIB), features=frozenset({"avx2", "avx512_vnni"})
    )
    stock = dataclasses.replace(on(), machine=able, portable=True).host(None, None)
    ours = dataclasses.replace(on(), machine=able, portable=True, build="b1 + kernels 1").host(None, None)
    assert stock.prefill
    assert ours.prefill
    assert ours.prefill.values.middle > 1.5 * stock.prefill.values.middle


def test_what_was_learnt_goes_before_what_is_usual() -> None:
    fast = dataclasses.replace(on(), machine=dataclasses.replace(MACHINE, bandwidth=Bandwidth(read=40 * GIB)))
    host = fast.host(LEARNT, None)
    assert host.decode == LEARNT
    assert host.prefill is not None
    assert host.prefill.basis == "nothing"
    assert on().host(None, None).decode is None  # its memory was not measured


def test_gpus_are_supposed_to_be_as_fast_as_the_slowest_that_is_known() -> None:
    both = on(L4, UNKNOWN, variant="cuda")
    one = on(L4, variant="cuda")
    assert both.host(None, None).on_gpus == one.host(None, None).on_gpus is not None
    assert on(UNKNOWN, variant="cuda").host(None, None).on_gpus is None
    assert one.host(LEARNT, LEARNT).on_gpus is None  # learnt with the GPUs at work
