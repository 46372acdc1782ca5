"""What a person reads: help with examples that are true, reference pages, completion, settings."""

from __future__ import annotations

import importlib.util
import json
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from cli.scripted import Api, Invoke
from inhouse import config
from inhouse.cli.app import cli
from inhouse.cli.base import complete_model

ROOT = Path(__file__).parent.parent.parent
CONTEXT = click.Context(cli, info_name="inhouse")
NAMES = cli.list_commands(CONTEXT)


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_teaches_with_examples(name: str) -> None:
    result = CliRunner().invoke(cli, [*([name] if name else []), "--help"])
    assert result.exit_code == 0
    assert "\nExamples:\n  " in result.output
    assert result.output.partition("\nExamples:\n")[2].count("inhouse") >= 1


@pytest.mark.parametrize("name", ["", *NAMES])
def test_examples_parse(name: str) -> None:
    command = cli.get_command(CONTEXT, name) if name else cli
    assert command is not None
    for line in command.examples:
        line = line.removeprefix('eval "$(').removesuffix(')"').partition(" > ")[0]
        words = shlex.split(line[line.index("inhouse ") :])
        called = cli.get_command(CONTEXT, words[1])
        assert called is not None, line
        called.make_context(words[1], words[2:], parent=CONTEXT)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_explained(name: str) -> None:
    command = cli.get_command(CONTEXT, name)
    assert command is not None
    assert command.get_short_help_str(200)
    assert not command.get_short_help_str(70).endswith("..."), "the first sentence fits the list of commands"
    assert all(p.help for p in command.params if isinstance(p, click.Option))


def test_the_root_help_documents_the_exit_codes() -> None:
    from inhouse.cli import main

    text = CliRunner().invoke(cli, ["-h"]).output
    names = ("OK", "FAILURE", "USAGE", "NOT_FOUND", "UNREACHABLE", "INTERRUPTED", "BROKEN_PIPE")
    for code in (getattr(main, name) for name in names):
        assert f"\n    {code} " in text


def test_without_a_command_there_is_help(invoke: Invoke) -> None:
    result = invoke()
    assert (result.code, result.out.splitlines()[0]) == (0, "Usage: inhouse [OPTIONS] [COMMAND] [ARGS]...")


@pytest.mark.parametrize("words", [["--version"], ["-V"], ["-V", "list"]])
def test_version(invoke: Invoke, words: list[str]) -> None:
    result = invoke(*words)
    assert (result.code, result.out) == (0, "inhouse 0.1.0\n")


def test_a_mistyped_command_gets_a_suggestion(invoke: Invoke) -> None:
    result = invoke("lst")
    assert result.code == 2
    assert result.err.startswith("Error: No such command 'lst'.")
    assert "'list'" in result.err


@pytest.mark.parametrize("words", [["run"], ["list", "--what"], ["completion", "tcsh"]])
def test_a_usage_error_is_two_lines(invoke: Invoke, words: list[str]) -> None:
    result = invoke(*words)
    error, hint = result.err.splitlines()
    assert (result.code, error[:7], hint) == (2, "Error: ", f"Hint: inhouse {words[0]} --help")


def test_reference_pages_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path, text in module.pages().items():
        assert path.read_text("utf-8") == text, "run: python tools/reference.py"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(invoke: Invoke, shell: str) -> None:
    result = invoke("completion", shell)
    assert result.code == 0
    assert "_INHOUSE_COMPLETE" in result.out


def test_completion_knows_commands_options_and_models(
    api: Api, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def completed(words: str) -> list[str]:
        monkeypatch.setenv("_INHOUSE_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", f"inhouse {words}")
        monkeypatch.setenv("COMP_CWORD", str(len(words.split(" "))))
        return [line.partition(",")[2] for line in invoke().out.splitlines() if line]

    assert completed("co") == ["convert", "config", "completion"]
    assert "--keepalive" in completed("run --k")
    assert completed("show t") == ["tiny:latest"]
    assert completed("show x") == []


def test_a_tab_starts_no_server_and_shows_no_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parameter = click.Argument(["model"])
    assert complete_model(CONTEXT, parameter, "t") == []
    assert not home.exists()
    monkeypatch.setenv("INHOUSE_HOST", "no host at all")
    assert complete_model(CONTEXT, parameter, "t") == []


def test_config_says_where_values_come_from(
    home: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    (home / "config.toml").write_text("[fleet]\nkeep_alive = -1\n[server]\nmax_body = '1MiB'\n")
    monkeypatch.setenv("INHOUSE_API_KEY", "hunter2")
    rows = {r["name"]: r for r in json.loads(invoke("config", "--json").out)}
    assert list(rows) == ["home", *(s.name for s in config.settings())]
    assert rows["home"]["value"] == str(home)
    assert (rows["fleet.keep_alive"]["value"], rows["fleet.keep_alive"]["shown"]) == (-1, "-1")
    assert rows["fleet.keep_alive"]["origin"] == "file config.toml"
    assert rows["server.max_body"]["shown"] == "1MiB"
    assert rows["server.api_key"]["value"] == "********"
    assert rows["server.api_key"]["origin"] == "environment INHOUSE_API_KEY"
    assert rows["log.level"]["origin"] == "default"
    text = invoke("config").out
    assert text.splitlines()[0].split()[:4] == ["SETTING", "VALUE", "FROM", "VARIABLE"]
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("server.idle_exit", 0.0, "0"),
        ("server.idle_exit", 90.0, "90s"),
        ("server.idle_exit", 600.0, "10m"),
        ("server.idle_exit", 7200.0, "2h"),
        ("fleet.memory", 1000, "1000"),
        ("fleet.memory", 2**30, "1GiB"),
        ("server.allow_public", True, "true"),
        ("server.origins", ("a", "b"), "a,b"),
        ("server.origins", (), "-"),
    ],
)
def test_values_are_shown_as_one_writes_them(name: str, value: Any, text: str) -> None:
    from inhouse.cli.commands.config import shown

    setting = next(s for s in config.settings() if s.name == name)
    assert shown(setting, value) == text
    if text != "-":
        assert setting.parse(text) == value


def test_a_broken_config_is_two_lines_and_exit_code_2(home: Path, invoke: Invoke) -> None:
    home.mkdir()
    (home / "config.toml").write_text("[fleet]\nkeep_alife = 1\n")
    result = invoke("config")
    assert result.code == 2
    assert result.err == "Error: unknown setting 'fleet.keep_alife'\nHint: List them with: inhouse config\n"
