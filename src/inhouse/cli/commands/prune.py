"""``inhouse prune``."""

from __future__ import annotations

import os

import click

from ... import config
from .. import output, server
from ..base import HELP, Command, json_option


@click.command(
    "prune",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse prune --dry-run
    inhouse prune
    """,
)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be freed.")
@click.option(
    "--all", "everything", is_flag=True, help="Also uploads of the last hour and all saved prompts."
)
@json_option
def command(dry_run: bool, everything: bool, as_json: bool) -> None:
    """Delete what no model needs.

    That is earlier versions, files without a name, unfinished pulls, and the saved prompts of models
    that are gone. Files of other programs are never touched.
    """
    body = {"dry_run": dry_run, "all": everything}
    answer = server.connect(config.load(os.environ)).call("POST", "/api/prune", body)
    if as_json:
        output.json_data(answer)
        return
    size = output.human_size
    verb = "would be freed" if dry_run else "freed"
    output.data(
        f"{size(answer['total'])} {verb}: {size(answer['previous'])} of earlier versions, "
        f"{size(answer['unused'])} without a name, {size(answer['partial'])} of unfinished pulls, "
        f"{size(answer['prompts'])} of saved prompts."
    )
