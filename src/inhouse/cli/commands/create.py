"""``inhouse create``."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import click

from ... import config
from ...core.create import Create, FileRef
from ...core.errors import BadRequest
from .. import making, output, server
from ..base import HELP, Command


@click.command(
    "create",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse create pirate
    inhouse create pirate -f pirate.toml
    echo 'FROM smollm2' | inhouse create plain -f -
    inhouse create small -f Modelfile --quantize Q4_K_M
    """,
)
@click.argument("name")
@click.option(
    "-f", "--file", "path", default="Modelfile", show_default=True,
    type=click.Path(dir_okay=False, allow_dash=True),
    help="A Modelfile, or a model file in TOML or YAML by its ending; - is stdin.",
)  # fmt: skip
@click.option("-q", "--quantize", default="", help="Quantise the weights to this type, such as Q4_K_M.")
@click.option("--allow-requantize", is_flag=True, help="Even if they are quantised already.")
@click.option(
    "--embedded-template",
    is_flag=True,
    help="Use the chat template inside the weights, whatever the file says.",
)
def command(name: str, path: str, quantize: str, allow_requantize: bool, embedded_template: bool) -> None:
    """Make a model from a model file.

    The file names a base or weights, and other parameters, template, system message or adapters. Paths
    in it are relative to it. Weights are used where they lie, unless the server runs elsewhere.
    """
    order = read(name, path)
    order = dataclasses.replace(
        order,
        quantize=quantize or order.quantize,
        allow_requantize=allow_requantize or order.allow_requantize,
        template=None if embedded_template else order.template,
        use_embedded_template=embedded_template or order.use_embedded_template,
    )
    making.run(order, server.connect(config.load(os.environ)))


def read(name: str, path: str) -> Create:
    """The order that a model file is. Raises BadRequest."""
    from ...store import modelfile

    if path == "-":
        reading = modelfile.parse(sys.stdin.buffer.read(), name=name, place=modelfile.Place(os.getcwd()))
    else:
        file = Path(path)
        try:
            data = file.read_bytes()
        except FileNotFoundError as error:
            found = _beside(name) if path == "Modelfile" else None
            if found is None:
                raise BadRequest(
                    f"there is no {file.name}", hint="Name the model file with -f, or write one: FROM smollm2"
                ) from error
            return found
        except OSError as error:
            raise BadRequest(
                f"{file.name} cannot be read: {error.strerror}", hint="Check the path."
            ) from error
        place = modelfile.Place(str(file.absolute().parent))
        if file.suffix.lower() in (".toml", ".yaml", ".yml"):
            reading = modelfile.parse_declared(data, file.suffix.lower()[1:], name=name, place=place)
        else:
            reading = modelfile.parse(data, name=name, place=place)
    for said in reading.said:
        output.note(said, colour="yellow")
    return reading.create


def _beside(name: str) -> Create | None:
    """Without a Modelfile the weights in this folder are meant, as with ``FROM .``."""
    here = Path.cwd()
    if any(p.suffix.lower() in (".gguf", ".safetensors") for p in here.iterdir()):
        return Create(name=name, files=(FileRef(here.name, path=str(here)),))
    return None
