"""Settings: defaults < file < environment < flags, and each value can say where it came from."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from inhouse import config
from inhouse.core.errors import BadRequest


def test_later_sources_win_and_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[server]\nhost = "127.0.0.1:1"\n[fleet]\nkeep_alive = "10m"\n')
    env = {"INHOUSE_HOME": str(tmp_path), "INHOUSE_HOST": "127.0.0.1:2"}
    loaded = config.load(env, {"server.host": "127.0.0.1:3"})
    assert loaded.server.host == "127.0.0.1:3"
    assert loaded.origins["server.host"] == "flag"
    assert loaded.fleet.keep_alive == 600
    assert loaded.origins["fleet.keep_alive"] == "file config.toml"
    assert config.load(env).origins["server.host"] == "environment INHOUSE_HOST"
    assert config.load({"INHOUSE_HOME": str(tmp_path / "none")}).origins["server.host"] == "default"


@pytest.mark.parametrize(
    "text",
    [
        "[server]\nnope = 1\n",
        "host = 1\n",
        "[server\n",
        "[fleet]\nmax_queue = -1\n",
        "[engine]\nkind = 'x'\n",
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(BadRequest) as caught:
        config.load({"INHOUSE_HOME": str(tmp_path)})
    assert "config.toml" in caught.value.message or "unknown setting" in caught.value.message
    assert caught.value.hint


def test_every_setting_has_a_variable_a_description_and_a_default_its_parser_takes(tmp_path: Path) -> None:
    seen = set()
    loaded = config.load({"INHOUSE_HOME": str(tmp_path)})
    for setting in config.settings():
        assert setting.env.startswith("INHOUSE_")
        assert setting.env not in seen
        seen.add(setting.env)
        assert setting.doc.endswith(".")
        assert config.value(loaded, setting.name) == setting.default
        text = ",".join(setting.default) if isinstance(setting.default, tuple) else str(setting.default)
        assert setting.parse(text) == setting.default or text == ""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300),
        ("1h30m", 5400),
        ("300ms", 0.3),
        ("90", 90),
        (90, 90),
        (0, 0),
        ("-1", math.inf),
        (-1, math.inf),
    ],
)
def test_durations(text: str | int, seconds: float) -> None:
    assert config.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "5x", "m", "1h-3m", "nan", "inf", "1e999", "٣", "٣s", "1" * 400 + "s", True]
)
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        config.duration(text)


def test_a_very_long_text_is_refused_as_quickly_as_a_header_must_be() -> None:
    began = time.perf_counter()
    for text in ("1" * 60_000, "1." * 30_000, "1s" * 30_000 + "x"):
        with pytest.raises(ValueError):
            config.duration(text)
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize(("text", "count"), [("64MiB", 2**26), ("8g", 2**33), ("1024", 1024), ("1.5k", 1536)])
def test_sizes(text: str, count: int) -> None:
    assert config.size(text) == count


@pytest.mark.parametrize("text", ["", "x", "-1", "8 apples"])
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        config.size(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("localhost", ("localhost", 11435)),
        ("http://127.0.0.1:80/", ("127.0.0.1", 80)),
        ("[::1]:5", ("::1", 5)),
        (":99", ("127.0.0.1", 99)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert config.listen(text) == address


@pytest.mark.parametrize("text", ["a:b", "1:2:3", "host:99999999", "host:70000"])
def test_what_is_not_an_address_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        config.listen(text)


@pytest.mark.parametrize(("env", "value"), [("INHOUSE_ALLOW_PUBLIC", "maybe"), ("INHOUSE_MAX_QUEUE", "x")])
def test_a_wrong_value_names_the_setting_and_its_origin(env: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(BadRequest) as caught:
        config.load({"INHOUSE_HOME": str(tmp_path), env: value})
    assert env in caught.value.message
