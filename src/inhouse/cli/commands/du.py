"""``inhouse du``."""

from __future__ import annotations

import os

import click

from ... import config
from .. import output, server
from ..base import HELP, Command, json_option


@click.command("du", cls=Command, context_settings=HELP, examples="inhouse du")
@json_option
def command(as_json: bool) -> None:
    """Say how much space which model takes, and what could go.

    OWN is what removing the model frees: files that no other model shares. IN PLACE belongs to other
    programs or folders and takes nothing here.
    """
    answer = server.connect(config.load(os.environ)).get("/api/store")
    if as_json:
        output.json_data(answer)
        return
    size = output.human_size
    rows = [
        (m["model"], size(m["size"]), size(m["own"]), size(m["in_place"]) if m["in_place"] else "-")
        for m in sorted(answer["models"], key=lambda m: -m["size"])
    ]
    output.data(output.table(("NAME", "SIZE", "OWN", "IN PLACE"), rows))
    output.data("")
    for label, key in (
        ("files here", "blobs"),
        ("earlier versions", "previous"),
        ("without a name", "unused"),
        ("unfinished pulls", "partial"),
        ("saved prompts", "prompts"),
        ("of gone models", "prompts_unused"),
        ("free on the disk", "free"),
    ):
        output.data(f"{label:<18}{size(answer[key])}")
