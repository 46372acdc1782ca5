"""What models may take of a machine's memory."""

from __future__ import annotations

import dataclasses

from inhouse.machine import Gpu, Machine
from inhouse.machine.budget import RESERVE, budget, device_budget, room

GIB = 2**30
MACHINE = Machine("linux", "x86_64", "A CPU", 2, 2, (), 16 * GIB, 10 * GIB)


def test_it_is_a_share_of_what_was_free_or_what_is_wanted() -> None:
    assert budget(MACHINE) == 8 * GIB
    assert budget(MACHINE, 64 * GIB) == 64 * GIB


def test_gpu_memory_is_that_of_cards_with_their_own() -> None:
    assert device_budget(MACHINE) == 0
    gpus = (
        Gpu("nvidia", "a", memory=8 * GIB, free=6 * GIB),
        Gpu("amd", "b", memory=4 * GIB),
        Gpu("apple", "c", memory=GIB, shared=True),
    )
    assert device_budget(dataclasses.replace(MACHINE, gpus=gpus)) == 10 * GIB


def test_what_others_have_counts_for_the_next_one_and_a_little_is_left() -> None:
    assert room(8 * GIB, 3 * GIB, 2 * GIB) == 5 * GIB - RESERVE
    assert room(4 * GIB, 30 * GIB, 0) == 4 * GIB
    assert room(4 * GIB, 0, 0) == 0
