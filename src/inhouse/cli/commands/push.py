"""``inhouse push``."""

from __future__ import annotations

import os

import click

from ... import config
from .. import pulling, server
from ..base import HELP, Command, model_argument


@click.command(
    "push",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse push mine oci://registry.example.com/models/mine:v1
    inhouse push registry.example.com/me/mine
    """,
)
@model_argument
@click.argument("target", required=False)
@click.option("--insecure", is_flag=True, help="Accept plain HTTP.")
def command(model: str, target: str | None, insecure: bool) -> None:
    """Send a model to a registry.

    TARGET is oci://registry/repository:tag for OCI registries, or host/namespace/name:tag for those that
    speak Ollama's protocol; without it the model's own name says where to. Files that are there are not
    sent again.
    """
    client = server.connect(config.load(os.environ))
    body = {"model": model, "insecure": insecure, **({"target": target} if target else {})}
    pulling.job(client, "/api/push", body, f"What was sent stays there: inhouse push {model}")
