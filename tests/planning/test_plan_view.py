"""Plans as they are shown and drawn."""

from __future__ import annotations

from inhouse.machine.footprint import Memory
from inhouse.planning.quants import bars_of, parts_of
from inhouse.planning.view import reckoned

MIB = 2**20


def test_the_engines_reckoning_stands_beside_the_formula() -> None:
    formula = Memory(weights=40, rearranged=5, kv=10, compute=5, touched=1, runtime=9)
    found = reckoned("b1", [{"name": "Host", "total": 30}, {"name": "CPU_REPACK", "total": 20}], formula)
    assert (found["total"], found["formula"], found["off"]) == (50, 55, 0.1)
    assert reckoned("b1", [], formula)["off"] == 0.0


def test_quantisations_that_do_not_fit_are_marked() -> None:
    rows = [
        {"quantization": "F16", "fits": False, "size": 4 * MIB, "needed": 6 * MIB},
        {"quantization": "Q8_0", "fits": True, "size": 2 * MIB, "needed": 3 * MIB},
    ]
    assert bars_of(rows) == (
        ["F16 (does not fit)", "Q8_0"],
        {"weights": [4.0, 2.0], "needed in all": [6.0, 3.0]},
    )


def test_devices_of_one_name_are_told_apart() -> None:
    parts = {"weights": MIB, "kv": 2 * MIB, "compute": 0, "runtime": 0}
    devices = [{"name": name, **parts} for name in ("CPU", "L4", "L4")]
    labels, series = parts_of({"devices": devices})
    assert len(labels) == 4
    assert list(series) == ["CPU", "L4 (1)", "L4 (2)"]
    assert series["CPU"] == [1.0, 2.0, 0.0, 0.0]
