"""``inhouse import``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ... import config
from ...core.errors import BadRequest
from .. import output, pulling, server
from ..base import HELP, Command


@click.command(
    "import",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse import models.inhouse
    inhouse import models.inhouse --seal 5f1d...
    """,
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--seal", default="", help="Refuse any other bundle than the one with this seal.")
def command(file: Path, seal: str) -> None:
    """Store the models of a bundle; every byte is verified.

    inhouse export makes bundles.
    """
    client = server.connect(config.load(os.environ))
    query = f"?seal={seal}" if seal else ""
    if seal and not (len(seal) == 64 and seal.isalnum() and seal.isascii()):
        raise BadRequest("a seal is 64 hex digits", hint="inhouse export prints it.")
    try:
        with file.open("rb") as bundle:
            size = os.fstat(bundle.fileno()).st_size
            with pulling.counted("importing", size) as count:
                answer = client.upload(f"/api/import{query}", pulling.Counting(bundle, count), size)
    except OSError as error:
        raise BadRequest(f"{file.name} cannot be read: {error.strerror}", hint="Check the name.") from error
    for model in answer["models"]:
        output.data(model)
