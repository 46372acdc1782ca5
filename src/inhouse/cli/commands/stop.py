"""``inhouse stop``."""

from __future__ import annotations

import os

import click

from ... import config
from .. import output, server
from ..base import HELP, Command, complete_model


@click.command(
    "stop",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse stop smollm2
    inhouse stop --server
    """,
)
@click.argument("model", required=False, shell_complete=complete_model)
@click.option(
    "--server", "whole", is_flag=True, help="Stop the server of this machine, and all models with it."
)
def command(model: str | None, whole: bool) -> None:
    """Unload a model now; running answers are finished first."""
    settings = config.load(os.environ)
    if bool(model) is whole:
        raise click.UsageError("Give a MODEL or --server.", click.get_current_context())
    if whole:
        if not server.stop(settings):
            output.note("No server of this home runs.")
        return
    client = server.find(settings)
    if client is None:
        output.note("No server runs, so no model is loaded.")
        return
    client.call("POST", "/api/generate", {"model": model, "keep_alive": 0, "stream": False})
