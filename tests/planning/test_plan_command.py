"""What ``inhouse plan`` sends, whatever it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inhouse.cli.commands.plan import _body
from inhouse.core.errors import BadRequest


def asked(machine: Path | None = None) -> dict[str, Any]:
    return {"context": None, "quant": "", "machine": machine}


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a": 1', '{"a": ' + "9" * 5000 + "}"])
def test_a_file_that_is_no_machine_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "machine.json"
    file.write_text(text)
    with pytest.raises(BadRequest, match="no description of a machine"):
        _body("m", asked(file))


def test_a_file_is_sent_by_its_path_and_anything_else_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.touch()
    assert _body(str(file), asked()) == {"path": str(file)}
    for name in ("m", "x" * 5000 + ".gguf", str(tmp_path / "none.gguf")):
        assert _body(name, asked()) == {"model": name}
