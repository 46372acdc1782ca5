"""``inhouse pull``."""

from __future__ import annotations

import os

import click

from ... import config
from .. import pulling, server
from ..base import HELP, Command


@click.command(
    "pull",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse pull smollm2
    """,
)
@click.argument("model")
def command(model: str) -> None:
    """Fetch a model, or what changed of it.

    MODEL is a name with an optional tag, like smollm2 or qwen2.5-coder:0.5b.

    An interrupted pull goes on where it was. Without a terminal there is no progress to see.
    """
    pulling.pull(server.connect(config.load(os.environ)), model)
