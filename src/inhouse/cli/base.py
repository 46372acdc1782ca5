"""What every command shares: help with examples, --json, names completed from the running server."""

from __future__ import annotations

import inspect
from typing import Any

import click

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Examples(click.Command):
    """Adds a section of examples, one command line each, to the help."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = inspect.cleandoc(examples).splitlines()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"  {line}\n")


class Command(Examples):
    """A leaf command."""


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Model names for the shell; nothing when no server runs (a Tab starts none)."""
    import os

    from .. import config
    from ..core.errors import InhouseError
    from . import server

    try:
        client = server.find(config.load(os.environ), timeout=1.0)
        models = client.get("/api/tags")["models"] if client else []
        return [m["name"] for m in models if m["name"].startswith(incomplete)]
    except (InhouseError, KeyError, TypeError):
        return []


model_argument = click.argument("model", shell_complete=complete_model)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
