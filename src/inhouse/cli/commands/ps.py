"""``inhouse ps``."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import click

from ... import config
from .. import output, server, views
from ..base import HELP, Command, complete_model, json_option


@click.command(
    "ps",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse ps
    inhouse ps --json
    """,
)
@click.argument("prefix", required=False, default="", shell_complete=complete_model)
@json_option
def command(prefix: str, as_json: bool) -> None:
    """Show the models that are loaded and how busy they are.

    SLOTS are the requests that run and that could run at once; WAITING are those in the queue. TOK/S
    are the tokens that all of them together made a second lately. SIZE is measured.
    No server is started to say that nothing is loaded.
    """
    client = server.find(config.load(os.environ))
    entries = views.named(client.get("/api/ps")["models"] if client else [], prefix)
    if as_json:
        output.json_data(entries)
    else:
        output.data(views.running(entries, datetime.now(UTC)))
