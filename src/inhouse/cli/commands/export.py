"""``inhouse export``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ... import config
from ...core.errors import BadRequest, Conflict
from .. import output, pulling, server
from ..base import HELP, Command, complete_model

CHUNK = 2**20


@click.command(
    "export",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse export smollm2 -o smollm2.inhouse
    inhouse import smollm2.inhouse
    """,
)
@click.argument("models", nargs=-1, required=True, shell_complete=complete_model)
@click.option(
    "-o", "--output", "target", required=True, type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def command(models: tuple[str, ...], target: Path, force: bool) -> None:
    """Put models into one sealed file for machines without a network.

    The seal that is printed identifies every byte of the file: hand it over another way and give it to
    inhouse import --seal.
    """
    if target.exists() and not force:
        raise Conflict(f"{target.name} is there already", hint="Choose another name, or use --force.")
    client = server.connect(config.load(os.environ))
    aside = target.with_name(target.name + ".part")
    try:
        with client.download("/api/export", {"models": list(models)}) as answer:
            total = int(answer.headers["Content-Length"])
            with aside.open("wb") as file, pulling.counted("exporting", total) as count:
                while chunk := answer.read(CHUNK):
                    file.write(chunk)
                    count(len(chunk))
                if file.tell() != total:
                    raise Conflict("the export broke off", hint="See what is wrong: inhouse verify")
                file.flush()
                os.fsync(file.fileno())
            seal = answer.headers["X-Inhouse-Seal"]
        aside.replace(target)
    except OSError as error:
        raise BadRequest(
            f"{target.name} cannot be written: {error.strerror}", hint="Choose another."
        ) from error
    finally:
        aside.unlink(missing_ok=True)
    output.data(seal)
