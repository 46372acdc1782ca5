"""``inhouse rm``."""

from __future__ import annotations

import os

import click

from ... import config
from .. import output, server
from ..base import HELP, Command, complete_model


@click.command(
    "rm",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse rm smollm2
    inhouse rm smollm2 qwen2.5-coder:0.5b
    """,
)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=complete_model)
def command(models: tuple[str, ...]) -> None:
    """Remove models from this machine.

    Loaded ones are stopped first."""
    client = server.connect(config.load(os.environ))
    for model in models:
        client.call("DELETE", "/api/delete", {"model": model})
        output.note(f"deleted '{model}'")
