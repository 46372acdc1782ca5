"""``inhouse rollback``."""

from __future__ import annotations

import os

import click

from ... import config
from .. import output, server
from ..base import HELP, Command, model_argument


@click.command("rollback", cls=Command, context_settings=HELP, examples="inhouse rollback smollm2")
@model_argument
def command(model: str) -> None:
    """Go back to what a model was before its last update.

    Once more goes forth again. One earlier version is kept until inhouse prune.
    """
    answer = server.connect(config.load(os.environ)).call("POST", "/api/rollback", {"model": model})
    output.note(f"{answer['model']} is {answer['digest'][:12]} again.")
