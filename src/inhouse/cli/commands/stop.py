"""``inhouse stop``."""

from __future__ import annotations

import os

import click

from ... import config
from .. import output, server
from ..base import HELP, Command, model_argument


@click.command(
    "stop",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse stop smollm2
    """,
)
@model_argument
def command(model: str) -> None:
    """Unload a model now; running answers are finished first."""
    client = server.find(config.load(os.environ))
    if client is None:
        output.note("No server runs, so no model is loaded.")
        return
    client.call("POST", "/api/generate", {"model": model, "keep_alive": 0, "stream": False})
