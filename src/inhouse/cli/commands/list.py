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
    inhouse list --all
    inhouse list --json
    """,
)
@click.argument("prefix", required=False, default="", shell_complete=complete_model)
@click.option("-a", "--all", "everything", is_flag=True, help="Also those in other programs' stores.")
@click.option("--label", default="", help="Only those with this label.")
@json_option
def command(prefix: str, everything: bool, label: str, as_json: bool) -> None:
    """List the models that are here, newest first; also called ls.

    PREFIX shows only those whose name begins with it. With --all also the models that Ollama,
    llama.cpp, LM Studio and the Hugging Face cache keep on this machine: inhouse run uses them where
    they lie.
    """
    client = server.connect(config.load(os.environ))
    entries = [
        m
        for m in views.named(client.get("/api/tags")["models"], prefix)
        if not label or label in m.get("labels", ())
    ]
    others = views.named(client.get("/api/foreign")["models"], prefix) if everything and not label else []
    if as_json:
        output.json_data([*entries, *others] if everything else entries)
    elif everything:
        output.data(views.all_models(entries, others, datetime.now(UTC)))
    else:
        output.data(views.models(entries, datetime.now(UTC)))
