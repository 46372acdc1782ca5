"""``inhouse diff``."""

from __future__ import annotations

import os
from typing import Any

import click

from ... import config
from .. import output, server
from ..base import HELP, Command, json_option, model_argument


@click.command(
    "diff",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse diff smollm2
    inhouse diff smollm2 mine
    """,
)
@model_argument
@click.argument("other", required=False)
@json_option
def command(model: str, other: str | None, as_json: bool) -> None:
    """Say what changes: weights, template, tokenizer, parameters.

    From MODEL to OTHER, or from MODEL's previous version to MODEL.
    """
    body = {"model": model, **({"other": other} if other else {})}
    answer = server.connect(config.load(os.environ)).call("POST", "/api/diff", body)
    if as_json:
        output.json_data(answer)
        return
    output.data(
        f"{answer['from']['name']} {answer['from']['digest'][7:19]} -> "
        f"{answer['to']['name']} {answer['to']['digest'][7:19]}"
    )
    for what in ("weights", "template", "tokenizer", "parameters"):
        output.data(f"  {what:<12}{'changed' if answer[what] else 'same'}")
    for key, change in answer["changes"].items():
        if key != "files":
            output.data(f"  {key}: {_shown(change['from'])} -> {_shown(change['to'])}")


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else text[:97] + "..."
