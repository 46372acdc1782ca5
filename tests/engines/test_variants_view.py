"""Builds as they are listed."""

from __future__ import annotations

from inhouse.engines.variants import catalogue, view
from inhouse.engines.variants.choice import Candidate
from inhouse.machine import Machine

MACHINE = Machine("linux", "x86_64", "A CPU", 2, 2, ("avx2",), 8 * 2**30, 8 * 2**30)
HERE = [
    Candidate("native", "server", "shelf", speed=1.2, measured="m", version="b1 native 00", loses=("lark",)),
    Candidate("wheel", "wheel", "package", why="it does not start", fix="Install it again"),
]


def test_what_is_here_is_listed_in_the_order_of_choice() -> None:
    native, wheel = view.installed(HERE, "llama.cpp (native)", {"wheel"})
    assert (native["name"], native["chosen"], native["in_use"], native["ok"]) == ("native", True, False, True)
    assert "1.20 times" in native["because"]
    assert (native["loses"], native["record"]) == (["lark"], None)
    assert (wheel["chosen"], wheel["in_use"], wheel["ok"]) == (False, True, False)
    assert (wheel["why_not"], wheel["fix"]) == ("it does not start", "Install it again")


def test_what_could_be_installed_is_what_has_a_file_for_this_system() -> None:
    names = {one["name"] for one in view.available(HERE, MACHINE)}
    assert "native" not in names
    here = {"native", "wheel"}
    assert names == {one.name for one in catalogue.builds() if one.file(MACHINE) is not None} - here
    assert here <= {one["name"] for one in view.available([], MACHINE)}
    cuda = next(one for one in view.available([], MACHINE) if one["backend"] == "cuda")
    assert cuda["why_not"]
    assert cuda["download"] >= 0


def test_the_wheel_computes_with_metal_on_macs() -> None:
    assert view.backends(HERE, "linux") == {"native": "cpu", "wheel": "cpu"}
    assert view.backends(HERE, "darwin") == {"native": "cpu", "wheel": "metal"}


def test_builds_for_gpus_say_why_they_would_not_be_used() -> None:
    found = view.for_gpus(MACHINE)
    assert {one["backend"] for one in found} >= {"cuda", "vulkan"}
    assert all(one["why"] for one in found)
