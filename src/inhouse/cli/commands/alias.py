"""``inhouse alias``."""

from __future__ import annotations

import os

import click

from ... import config
from .. import server
from ..base import HELP, Command, model_argument


@click.command(
    "alias",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse alias fast smollm2
    inhouse run fast
    """,
)
@click.argument("name")
@model_argument
def command(name: str, model: str) -> None:
    """Let NAME follow a model, also when that is updated.

    Unlike inhouse cp, which gives a second name to what the model is now.
    """
    server.connect(config.load(os.environ)).call("POST", "/api/alias", {"name": name, "model": model})
