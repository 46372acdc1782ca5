"""``inhouse list``."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import click

from ... import config
from .. import output, server, views
from ..base import HELP, Command, complete_model, json_option


@click.command(
    "list",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse list
    inhouse list qwen
    inhouse list --json
    """,
)
@click.argument("prefix", required=False, default="", shell_complete=complete_model)
@json_option
def command(prefix: str, as_json: bool) -> None:
    """List the models that are here, newest first; also called ls.

    PREFIX shows only those whose name begins with it.
    """
    entries = views.named(server.connect(config.load(os.environ)).get("/api/tags")["models"], prefix)
    if as_json:
        output.json_data(entries)
    else:
        output.data(views.models(entries, datetime.now(UTC)))
