"""``inhouse plan``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from ... import config
from ...core.errors import BadRequest
from .. import output, plans, server
from ..base import HELP, Command, json_option, model_argument


@click.command(
    "plan",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse plan qwen2.5:7b
    inhouse plan qwen2.5-coder:0.5b --context 16384 --users 4
    inhouse plan llama3.1 --kv-type q8_0 --quant Q5_K_M
    inhouse plan smollm2 --quants --picture quants.svg
    inhouse doctor --json > big.json; inhouse plan llama3.3 --machine big.json
    """,
)
@model_argument
@click.option("--context", type=click.IntRange(1), metavar="N", help="Tokens for each user.")
@click.option("--users", type=click.IntRange(1, 1024), metavar="N", help="Requests answered at once.")
@click.option("--quant", default="", metavar="Q", help="As if in another quantisation, such as Q5_K_M.")
@click.option("--kv-type", default="", metavar="T", help="Type of the KV cache: f16, q8_0, q4_0 ...")
@click.option("--prompt", type=click.IntRange(1), metavar="N", help="Tokens of the prompt. Default: 512.")
@click.option(
    "--machine",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Another machine, as its inhouse doctor --json told of it.",
)
@click.option("--exact", is_flag=True, help="Let the engine lay the model out, too (nothing is loaded).")
@click.option("--quants", is_flag=True, help="Compare the quantisations of the model.")
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE.svg",
    help="Draw it, too.",
)
@json_option
def command(model: str, picture: Path | None, as_json: bool, **asked: Any) -> None:
    """Say what a model takes and how fast it will be, before it is here.

    MODEL is a stored model, one that inhouse pull knows, or the path of a GGUF file. Every figure of
    speed is a range; it narrows with what is measured on this machine.
    """
    body = _body(model, asked)
    body["picture"] = picture is not None
    answer = server.connect(config.load(os.environ)).call("POST", "/api/plan", body, timeout=300.0)
    drawing = answer.pop("picture", "")
    if picture is not None:
        try:
            picture.write_text(drawing, "utf-8")
        except OSError as error:
            raise BadRequest(f"the picture cannot be written: {error.strerror}") from error
        output.note(f"The picture is in {picture}")
    if as_json:
        output.json_data(answer)
    else:
        output.data(plans.quants(answer) if body["quants"] else plans.plan(answer))


def _body(model: str, asked: dict[str, Any]) -> dict[str, Any]:
    """The order; raises BadRequest when the file of a machine cannot be read."""
    body = {name: value for name, value in asked.items() if value not in (None, "") and name != "machine"}
    path = Path(model)
    if path.suffix.lower() == ".gguf" and os.path.isfile(path):
        body["path"] = str(path.absolute())
    else:
        body["model"] = model
    if asked["machine"] is not None:
        try:
            body["machine"] = json.loads(asked["machine"].read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise BadRequest(
                "the file is no description of a machine",
                hint="Write one there with: inhouse doctor --json > machine.json",
            ) from error
    return body
