"""``inhouse why``."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

import click

from ...core.errors import NotFound
from .. import history, output
from ..base import HELP, Command, complete_model, json_option
from ..client import Client


@click.command(
    "why",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse why req_6360622806adc2eb5176
    inhouse why --last
    inhouse why --slow --model smollm2
    inhouse why
    """,
)
@click.argument("request_id", required=False)
@click.option("--last", is_flag=True, help="The request that ended last.")
@click.option("--slow", is_flag=True, help="List the slowest of the last 2,000 requests.")
@click.option("--all", "every", is_flag=True, help="All requests of this id: clients may choose ids.")
@click.option("--model", metavar="MODEL", shell_complete=complete_model, help="Only requests to it.")
@json_option
def command(
    *, request_id: str | None, last: bool, slow: bool, every: bool, model: str | None, as_json: bool
) -> None:
    """Show where the time of a request went and what would help.

    The header x-request-id of every answer has the id. Without one the latest requests are listed.
    Neither questions nor answers are kept, only how long what took.
    """
    if sum((request_id is not None, last, slow)) > 1:
        raise click.UsageError("give a request id, --last or --slow")
    client = history.client()
    if request_id is None and not last:
        _list(client, slow, model, as_json)
        return
    if client is None:
        raise NotFound("no request is known here", hint="Ask a model something: inhouse run MODEL")
    if last:
        listed = client.get(history.path("/api/why", limit=1, model=model))["requests"]
        if not listed:
            raise NotFound("no request is known here", hint="Ask a model something: inhouse run MODEL")
        request_id = str(listed[0]["request_id"])
    answer = client.get(
        history.path(f"/api/why/{quote(request_id or '', safe='')}", all="true" if every else None)
    )
    _show(answer["requests"] if every else [answer], as_json, every)


def _list(client: Client | None, slow: bool, model: str | None, as_json: bool) -> None:
    order = "slowest" if slow else "latest"
    path = history.path("/api/why", order=order, model=model)
    listed = client.get(path)["requests"] if client is not None else []
    if as_json:
        output.json_data(listed)
    else:
        output.data(history.requests(listed, datetime.now().astimezone()))


def _show(ways: list[dict[str, Any]], as_json: bool, every: bool) -> None:
    if as_json:
        output.json_data(ways if every else ways[0])
        return
    now = datetime.now().astimezone()
    output.data("\n\n".join(history.way(one, now) for one in ways))
