"""``inhouse convert``."""

from __future__ import annotations

import os

import click

from ... import config
from ...core.create import Create
from .. import making, pulling, server
from ..base import HELP, Command, complete_model


@click.command(
    "convert",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse convert --install
    inhouse convert hf.co/org/repo mine
    inhouse convert ./folder-of-safetensors mine --type Q8_0
    """,
)
@click.argument("model", required=False, shell_complete=complete_model)
@click.argument("name", required=False)
@click.option("--install", is_flag=True, help="Fetch and install the converter first (about 300 MB).")
@click.option(
    "--type", "kind", default="F16", show_default=True, help="F32, F16, BF16, or a type to quantise to."
)
def command(model: str | None, name: str | None, install: bool, kind: str) -> None:
    """Make a GGUF model NAME from the safetensors model MODEL.

    With llama.cpp's own converter.

    The converter needs PyTorch, so it is not part of Inhouse: --install puts it into a folder of its own
    under INHOUSE_HOME; INHOUSE_CONVERTER names another, such as that of a llama.cpp checkout.
    """
    if not install and not (model and name):
        raise click.UsageError("Give a MODEL and a NAME, or --install.", click.get_current_context())
    client = server.connect(config.load(os.environ))
    if install:
        pulling.job(client, "/api/converter", {}, "Nothing was kept; try again: inhouse convert --install")
    if not (model and name):
        return
    making.run(Create(name=name, quantize=kind, **making.from_model(model, client)), client)
