"""``inhouse cp``."""

from __future__ import annotations

import os

import click

from ... import config
from .. import output, server
from ..base import HELP, Command, complete_model


@click.command(
    "cp",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse cp smollm2 assistant
    """,
)
@click.argument("source", shell_complete=complete_model)
@click.argument("destination")
def command(source: str, destination: str) -> None:
    """Give a model a second name. Its weights are not copied."""
    client = server.connect(config.load(os.environ))
    client.call("POST", "/api/copy", {"source": source, "destination": destination})
    output.note(f"copied '{source}' to '{destination}'")
