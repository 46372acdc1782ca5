"""``inhouse events``."""

from __future__ import annotations

from datetime import datetime

import click

from .. import history, output
from ..base import HELP, Command, complete_model, json_option
from ..client import Client


@click.command(
    "events",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse events
    inhouse events --since 1h --model smollm2
    inhouse events --kind eviction,refusal
    inhouse events --follow
    """,
)
@click.option("--since", metavar="WHEN", help="Only since then: a duration like 90s or 1h, or an ISO date.")
@click.option("--model", metavar="MODEL", shell_complete=complete_model, help="Only what happened to it.")
@click.option("--kind", metavar="KIND", help="Only of this kind; several with commas.")
@click.option("--limit", type=click.IntRange(1, 10_000), help="How many, the latest (default: 200).")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@json_option
def command(
    *, since: str | None, model: str | None, kind: str | None, limit: int | None, follow: bool, as_json: bool
) -> None:
    """Show what happened here, why, and what to do about it.

    Loads, evictions, restarts, retries, fallbacks, refusals, engines and starts of the server are kept
    under the home for 30 days. With --json and --follow each line is an object.

    The journal outlives the server: when none runs, one is started to tell of it, but none to say that
    nothing happened.
    """
    client = history.client()
    query = {"since": since, "model": model, "kind": kind, "limit": limit}
    if client is None:
        if as_json and not follow:
            output.json_data([])
        else:
            output.note("Nothing has happened here yet.")
    elif follow:
        _follow(client, history.path("/api/events", **query, follow="true"), as_json)
    else:
        found = client.get(history.path("/api/events", **query))
        if as_json:
            output.json_data(found["events"])
            return
        for event in found["events"]:
            history.show_event(event, datetime.now().astimezone())
        if found.get("dropped"):
            output.note(f"{found['dropped']} lines could not be written to the disk and will be forgotten.")


def _follow(client: Client, path: str, as_json: bool) -> None:
    with client.follow(path) as stream:
        for event in stream.events():
            if as_json:
                output.json_line(event)
            else:
                history.show_event(event, datetime.now().astimezone())
