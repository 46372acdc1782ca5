"""What a build brings beside its server is used, too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from inhouse.config import Engine
from inhouse.engines.variants.shelf import FILES, Record, Shelf, facts
from inhouse.workshop import Workshop
from support.llama_builds import executable, script

USAGE = b"#!/bin/sh\ncat >&2 <<'END'\nusage: x\nAllowed quantization types:\n   2  or  Q4_0    :  4.34G\nEND\nexit 1\n"


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")
def test_a_native_build_makes_quantising_possible(tmp_path: Path) -> None:
    shop = Workshop(Engine(), tmp_path, {"PATH": str(tmp_path / "nothing")})
    assert not shop.tools()[0].ok
    shelf = Shelf(tmp_path)
    with shelf.aside() as folder:
        program = executable(folder / FILES / "llama-server", script())
        executable(folder / FILES / "llama-quantize", USAGE)
        record = Record(
            name="native", version="b1", runs="server", backend="cpu", source="build", program="llama-server",
            sha256="a" * 64, pinned="catalogue", **facts(program),
        )  # fmt: skip
        shelf.add(folder, record)
    found = shop.tools()[0]
    assert found.ok, found.why
    assert Path(found.path).parent == shelf.get("native").program.parent
