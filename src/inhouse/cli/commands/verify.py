"""``inhouse verify``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from ... import config
from ...core.errors import BadRequest, InhouseError
from .. import output, pulling, server
from ..base import HELP, Command, json_option


@click.command(
    "verify",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse verify
    inhouse verify --repair
    inhouse verify --lock models.lock
    """,
)
@click.option("--repair", is_flag=True, help="Pull damaged models again from their sources.")
@click.option(
    "--lock", "lock", type=click.Path(dir_okay=False, path_type=Path), help="Also hold to a lock file."
)
@json_option
def command(repair: bool, lock: Path | None, as_json: bool) -> None:
    """Hash every file of every model again. Exit code 1 when something is wrong."""
    client = server.connect(config.load(os.environ))
    locked = read_lock(lock) if lock else None
    found = pulling.job(client, "/api/verify", {"repair": repair}, "Try again.").get("result") or []
    differs = client.call("POST", "/api/lock/check", locked)["differences"] if locked is not None else []
    if as_json:
        output.json_data({"problems": found, "differences": differs})
    else:
        for problem in found:
            output.data(f"{problem['model']}: {problem['what']}. {problem['fix']}")
        for one in differs:
            output.data(f"{one['model']}: {one['what']} is {one['found']}, locked is {one['locked']}")
    if found or differs:
        count = len(found) + len(differs)
        raise InhouseError(f"{count} thing{'s are' if count > 1 else ' is'} not as it should be", hint="")
    output.note("Everything is as it should be.")


def read_lock(path: Path) -> object:
    """A lock file's contents. Raises BadRequest."""
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadRequest(
            f"{path.name} cannot be read: {error.strerror}", hint="Write one: inhouse lock"
        ) from error
    except ValueError as error:
        raise BadRequest(f"{path.name} is no lock file", hint="Write one: inhouse lock") from error
