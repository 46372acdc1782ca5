"""[engines.NAME] of config.toml: servers of others, described by settings alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from inhouse import config
from inhouse.config import programs
from inhouse.core.errors import BadRequest
from inhouse.core.features import FEATURES, OPENAI

WHOLE = """
[engines.mine]
command = ["/opt/server", "--model", "{model}", "--port", "{port}", "--tag={name}"]
env = { KEY = "{key}", BRACES = "{{}}" }
formats = ["safetensors"]
models = ["qwen*"]
ready = "/v1/models"
serves = "default"
takes = ["top_k"]
lacks = ["tools", "images"]
context_length = 4096
slots = 2
memory = "3GiB"
start_timeout = "2m"
"""


def load(home: Path, text: str) -> config.Config:
    (home / "config.toml").write_text(text)
    return config.load({"INHOUSE_HOME": str(home)})


def test_a_section_is_read_whole(tmp_path: Path) -> None:
    loaded = load(tmp_path, "[fleet]\nmax_queue = 3\n" + WHOLE)
    mine = loaded.programs["mine"]
    assert mine.name == "mine"
    assert mine.command[:3] == ("/opt/server", "--model", "{model}")
    assert mine.env == {"KEY": "{key}", "BRACES": "{{}}"}
    assert (mine.formats, mine.models) == (("safetensors",), ("qwen*",))
    assert (mine.ready, mine.serves) == ("/v1/models", "default")
    assert (mine.takes, mine.lacks) == (frozenset({"top_k"}), frozenset({"tools", "images"}))
    assert (mine.context_length, mine.slots, mine.memory, mine.start_timeout) == (4096, 2, 3 * 2**30, 120.0)
    assert loaded.fleet.max_queue == 3


def test_little_is_needed_and_nothing_is_there_by_itself(tmp_path: Path) -> None:
    assert not config.load({"INHOUSE_HOME": str(tmp_path)}).programs
    program = load(tmp_path, '[engines.x]\ncommand = ["s", "{model}", "{socket}"]\n').programs["x"]
    assert (program.ready, program.serves, program.slots, program.takes) == (
        "/health",
        "{name}",
        4,
        frozenset(),
    )


SHORT = '[engines.x]\ncommand = ["s", "{model}", "{socket}"]\n'


@pytest.mark.parametrize(
    ("text", "key", "why"),
    [
        ("engines = 3\n", "engines", "sections"),
        ("[engines]\nx = 3\n", "engines.x", "section"),
        ("[engines.x]\nslots = 1\n", "engines.x.command", "missing"),
        ('[engines.vllm]\ncommand = ["s"]\n', "engines.vllm", "Inhouse itself"),
        ('[engines."A B"]\ncommand = ["s"]\n', "engines.A B", "lower-case"),
        ('[engines.x]\ncommand = "s {model}"\n', "engines.x.command", "list"),
        ("[engines.x]\ncommand = []\n", "engines.x.command", "empty"),
        ('[engines.x]\ncommand = ["{nope}"]\n', "engines.x.command", "{nope}"),
        ('[engines.x]\ncommand = ["{"]\n', "engines.x.command", ""),
        ('[engines.x]\ncommand = ["{model}"]\n', "engines.x.command", "where to listen"),
        ('[engines.x]\ncommand = ["{socket}"]\n', "engines.x.command", "which model"),
        ('[engines.x]\ncommand = ["{model}{socket}{port}"]\n', "engines.x.command", "not both"),
        (SHORT + "env = 3\n", "engines.x.env", "map"),
        (SHORT + 'env = { "A-B" = "x" }\n', "engines.x.env", "A-B"),
        (SHORT + 'env = { A = "{secret}" }\n', "engines.x.env", "{secret}"),
        (SHORT + 'formats = "gguf"\n', "engines.x.formats", "list"),
        (SHORT + 'ready = "health"\n', "engines.x.ready", "path"),
        (SHORT + 'serves = "{key}"\n', "engines.x.serves", "{name}"),
        (SHORT + 'takes = ["nope"]\n', "engines.x.takes", "nope"),
        (SHORT + 'lacks = ["nope"]\n', "engines.x.lacks", "nope"),
        (SHORT + "slots = 0\n", "engines.x.slots", "1 to 4096"),
        (SHORT + 'memory = "lots"\n', "engines.x.memory", "size"),
        (SHORT + 'start_timeout = "soon"\n', "engines.x.start_timeout", "duration"),
        (SHORT + "context_length = -1\n", "engines.x.context_length", "negative"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_key(tmp_path: Path, text: str, key: str, why: str) -> None:
    with pytest.raises(BadRequest) as caught:
        load(tmp_path, text)
    assert key in caught.value.message
    assert why in caught.value.message
    assert caught.value.hint


def test_an_unknown_key_is_told_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"unknown setting 'engines\.x\.port'") as caught:
        load(tmp_path, SHORT + "port = 1\n")
    assert "command" in caught.value.hint


def test_the_guide_lists_every_key_and_feature() -> None:
    page = (Path(__file__).parent.parent / "docs" / "guides" / "other-engines.md").read_text("utf-8")
    for key in programs._PARSERS:
        assert f"| `{key}` |" in page
    for name, text in FEATURES.items():
        assert f"| `{name}` | {text} | {'yes' if name in OPENAI else ''} |" in page
    for name in programs.PLACEHOLDERS:
        assert f"`{{{name}}}`" in page
