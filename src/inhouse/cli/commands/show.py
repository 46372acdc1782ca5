"""``inhouse show``."""

from __future__ import annotations

import os
from typing import Any

import click

from ... import config
from .. import output, server, views
from ..base import HELP, Command, json_option, model_argument

PARTS = ("modelfile", "parameters", "template", "system", "license")


@click.command(
    "show",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse show smollm2
    inhouse show smollm2 --template
    inhouse show smollm2 --json
    """,
)
@model_argument
@click.option("--modelfile", "part", flag_value="modelfile", help="Only its Modelfile.")
@click.option("--parameters", "part", flag_value="parameters", help="Only its default options.")
@click.option("--template", "part", flag_value="template", help="Only its chat template.")
@click.option("--system", "part", flag_value="system", help="Only its system message.")
@click.option("--license", "part", flag_value="license", help="Only its licence.")
@click.option("-v", "--verbose", is_flag=True, help="Also metadata and tensors.")
@json_option
def command(model: str, part: str | None, verbose: bool, as_json: bool) -> None:
    """Show what is known of a model."""
    client = server.connect(config.load(os.environ))
    answer = client.call("POST", "/api/show", {"model": model, "verbose": verbose})
    if as_json:
        output.json_data({part: answer.get(part)} if part else answer)
    elif part:
        show_part(answer, part)
    else:
        output.data(views.model(answer, verbose=verbose))


def show_part(answer: dict[str, Any], part: str) -> None:
    """One part as it is, or a note that there is none."""
    text = views.licence(answer) if part == "license" else str(answer.get(part) or "")
    if text:
        output.data(text, end="" if text.endswith("\n") else "\n")
    else:
        output.note(f"This model has no {part}.")
