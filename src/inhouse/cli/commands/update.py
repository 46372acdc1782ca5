"""``inhouse update``."""

from __future__ import annotations

import os

import click

from ... import config
from .. import output, pulling, server
from ..base import HELP, Command, complete_model


@click.command(
    "update",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse update llama3.2
    inhouse update
    """,
)
@click.argument("models", nargs=-1, shell_complete=complete_model)
@click.option("--insecure", is_flag=True, help="Accept plain HTTP.")
def command(models: tuple[str, ...], insecure: bool) -> None:
    """Fetch newer versions of some models, or of all that have one.

    What a model was before is kept for inhouse rollback, until inhouse prune.
    """
    client = server.connect(config.load(os.environ))
    wanted = list(models)
    if not wanted:
        asked = pulling.job(client, "/api/outdated", {"models": []}, "Try again.")
        wanted = [m["model"] for m in asked.get("result") or () if m["status"] == "outdated"]
    for model in wanted:
        before = client.call("POST", "/api/show", {"model": model})["digest"]
        pulling.job(
            client,
            "/api/pull",
            {"model": model, "fresh": True, "insecure": insecure},
            f"inhouse update {model}",
        )
        after = client.call("POST", "/api/show", {"model": model})["digest"]
        same = "is up to date" if before == after else f"is {after[:12]} now, it was {before[:12]}"
        output.note(f"{model} {same}.")
    if not wanted:
        output.note("Nothing is outdated.")
