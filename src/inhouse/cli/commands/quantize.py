"""``inhouse quantize``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ... import config
from ...core.create import Create, FileRef
from .. import making, server
from ..base import HELP, Command, complete_model


@click.command(
    "quantize",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse quantize llama3.2:1b-f16 llama3.2:1b-q4 Q4_K_M
    inhouse quantize ./model-f16.gguf small IQ3_XXS --imatrix model.imatrix
    """,
)
@click.argument("model", shell_complete=complete_model)
@click.argument("name")
@click.argument("kind", metavar="TYPE")
@click.option(
    "--imatrix", type=click.Path(dir_okay=False, path_type=Path),
    help="Importance matrix, as llama-imatrix makes it; the smallest types need one.",
)  # fmt: skip
@click.option("--allow-requantize", is_flag=True, help="Even if MODEL is quantised already.")
def command(model: str, name: str, kind: str, imatrix: Path | None, allow_requantize: bool) -> None:
    """Make the model NAME from MODEL with its weights quantised to TYPE.

    Needs llama.cpp's llama-quantize; inhouse doctor says whether it is there.
    """
    client = server.connect(config.load(os.environ))
    order = Create(
        name=name,
        **making.from_model(model, client),
        quantize=kind,
        imatrix=FileRef(imatrix.name, path=str(imatrix.absolute())) if imatrix else None,
        allow_requantize=allow_requantize,
    )
    making.run(order, client)
