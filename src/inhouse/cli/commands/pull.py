"""``inhouse pull``."""

from __future__ import annotations

import os

import click

from ... import config
from .. import pulling, server
from ..base import HELP, Command


@click.command(
    "pull",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse pull smollm2
    inhouse pull hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M
    inhouse pull ollama:llama3.2:1b
    inhouse pull oci://registry.example.com/models/chat:v1
    inhouse pull https://example.com/models/chat.gguf
    inhouse pull ./chat.gguf
    """,
)
@click.argument("model")
@click.option("--insecure", is_flag=True, help="Accept plain HTTP.")
@click.option("--fresh", is_flag=True, help="Ask the source even where another program has a copy.")
@click.option(
    "--embedded-template",
    "use_embedded_template",
    is_flag=True,
    help="Use the chat template inside the weights, not the one that the source gives.",
)
def command(model: str, **options: bool) -> None:
    """Fetch a model, or what changed of it.

    MODEL is a name of the catalogue, like smollm2 or qwen2.5-coder:0.5b, or a source: hf.co/org/repo,
    ollama:name, oci://registry/repo, https://host/file.gguf, modelscope:org/repo, s3://bucket/key,
    pypi:package#file, or a path, which is used in place.

    An interrupted pull goes on where it was. Without a terminal there is no progress to see.
    """
    pulling.pull(server.connect(config.load(os.environ)), model, **options)
