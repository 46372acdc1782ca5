"""``inhouse lock``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from ... import config
from ...core.errors import BadRequest
from .. import output, server
from ..base import HELP, Command, complete_model


@click.command(
    "lock",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse lock
    inhouse lock smollm2 -o models.lock
    inhouse verify --lock models.lock
    """,
)
@click.argument("models", nargs=-1, shell_complete=complete_model)
@click.option(
    "-o", "--output", "target", default="models.lock", show_default=True,
    type=click.Path(dir_okay=False, allow_dash=True), help="The file to write; - is stdout.",
)  # fmt: skip
def command(models: tuple[str, ...], target: str) -> None:
    """Write down exactly which models these are, in models.lock.

    It has source, revision, the digest of every file, template, context, engine build, sampling defaults
    and licence.

    Without MODELS all models are locked. The file is JSON, made for version control.
    """
    answer = server.connect(config.load(os.environ)).call("POST", "/api/lock", {"models": list(models)})
    text = json.dumps(answer, indent=2, ensure_ascii=False) + "\n"
    if target == "-":
        output.data(text, end="")
        return
    try:
        Path(target).write_text(text, "utf-8")
    except OSError as error:
        raise BadRequest(
            f"{target} cannot be written: {error.strerror}", hint="Choose another with -o."
        ) from error
    output.note(f"{len(answer['models'])} models are locked in {target}.")
