"""``inhouse config``: every setting, its value and where that came from."""

from __future__ import annotations

import math
import os
from typing import Any

import click

from ... import config
from .. import output
from ..base import HELP, Command, json_option

_MASK = "********"


@click.command(
    "config",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse config
    inhouse config --json
    INHOUSE_KEEP_ALIVE=1h inhouse config
    """,
)
@json_option
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the reference page of all settings.")
def command(as_json: bool, as_markdown: bool) -> None:
    """Show every setting and where its value comes from.

    A flag of serve wins over the environment, that over config.toml in INHOUSE_HOME, that over the
    default. Secrets are masked.
    """
    if as_markdown:
        output.data(markdown(), end="")
        return
    rows = settings(config.load(os.environ))
    if as_json:
        output.json_data(rows)
        return
    header = ("SETTING", "VALUE", "FROM", "VARIABLE", "WHAT IT DOES")
    cells = [(r["name"], r["shown"], r["origin"].split(" ")[0], r["env"], r["doc"]) for r in rows]
    output.data(output.table(header, cells))


def settings(tree: config.Config) -> list[dict[str, Any]]:
    """One row a setting: name, value (as JSON can say it), shown (for people), origin, env, doc."""
    home = str(tree.home)
    rows: list[dict[str, Any]] = [
        {"name": "home", "value": home, "shown": home, "origin": tree.origins["home"], **_HOME}
    ]
    for s in config.settings():
        value = config.value(tree, s.name)
        if s.secret and value:
            value = _MASK
        rows.append(
            {
                "name": s.name,
                "value": -1 if value == math.inf else value,
                "shown": shown(s, value),
                "origin": tree.origins[s.name],
                "env": s.env,
                "doc": s.doc,
            }
        )
    return rows


_HOME = {"env": "INHOUSE_HOME", "doc": "Folder of all state: models, logs, history, config.toml."}


def shown(setting: config.Setting, value: Any) -> str:
    """A value as one would write it: ``5m``, ``64MiB``, ``true``; ``-`` for nothing."""
    if setting.parse is config.duration:
        return _duration(value)
    if setting.parse is config.size:
        return _size(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value) or "-"
    return str(value) or "-"


def _duration(value: float) -> str:
    if value == math.inf:
        return "-1"
    for unit, one in (("h", 3600), ("m", 60)):
        if value and value % one == 0:
            return f"{value / one:.0f}{unit}"
    return f"{value:g}s" if value else "0"


def _size(value: int) -> str:
    for unit, one in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value and value % one == 0:
            return f"{value // one}{unit}"
    return str(value)


OTHERS = """
## Variables of others that hold here

| variable | what for |
| --- | --- |
| `HF_HOME`, `HF_HUB_CACHE` | Hugging Face: its cache |
| `HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE` | Hugging Face: token, mirror, no network |
| `MODELSCOPE_ENDPOINT`, `MODELSCOPE_DOMAIN`, `MODELSCOPE_API_TOKEN` | ModelScope |
| `OLLAMA_MODELS`, `LLAMA_CACHE` | where Ollama and llama.cpp keep models |
| `DOCKER_CONFIG` | logins of registries |
| `AWS_*` | object storage |
| `PIP_*` and pip's own files | the index that `pypi:` models come from |
| `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` | all downloads |
| `NO_COLOR` | the command line |
"""


def markdown() -> str:
    """The reference page; of the declarations alone, so the same on every machine."""
    lines = [
        "# Settings",
        "",
        "A flag of `inhouse serve` wins over the environment, that over `config.toml` in `INHOUSE_HOME`,",
        "that over the default. `inhouse config` shows the values in force and where they came from.",
        "",
        "`INHOUSE_HOME` (default `~/.inhouse`) is the folder of all state: models, logs, history,",
        "`config.toml`.",
    ]
    section = ""
    for s in config.settings():
        if s.name.partition(".")[0] != section:
            section = s.name.partition(".")[0]
            lines += [
                "",
                f"## [{section}]",
                "",
                "| name | variable | default | what it does |",
                "| --- | --- | --- | --- |",
            ]
        lines.append(f"| `{s.name}` | `{s.env}` | `{shown(s, s.default)}` | {s.doc} |")
    return "\n".join(lines) + "\n" + OTHERS
