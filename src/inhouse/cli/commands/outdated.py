"""``inhouse outdated``."""

from __future__ import annotations

import os

import click

from ... import config
from .. import output, pulling, server
from ..base import HELP, Command, complete_model, json_option


@click.command(
    "outdated",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse outdated
    inhouse outdated --json
    """,
)
@click.argument("models", nargs=-1, shell_complete=complete_model)
@json_option
def command(models: tuple[str, ...], as_json: bool) -> None:
    """Ask the sources of models for something newer. Changes nothing."""
    client = server.connect(config.load(os.environ))
    found = pulling.job(client, "/api/outdated", {"models": list(models)}, "Try again.").get("result") or []
    if as_json:
        output.json_data(found)
        return
    rows = [
        (m["model"], m["status"], str(m.get("newest") or m.get("why") or "")[:60], m["source"]) for m in found
    ]
    output.data(output.table(("NAME", "STATUS", "NEWEST", "SOURCE"), rows))
