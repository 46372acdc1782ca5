"""``inhouse completion``."""

from __future__ import annotations

import click

from ...core.errors import InhouseError
from .. import output
from ..base import HELP, Command


@click.command(
    "completion",
    cls=Command,
    context_settings=HELP,
    examples="""
    eval "$(inhouse completion bash)"
    inhouse completion zsh > ~/.zfunc/_inhouse
    inhouse completion fish > ~/.config/fish/completions/inhouse.fish
    """,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    It completes commands, options and, while a server runs, the names of models.
    """
    from click.shell_completion import get_completion_class

    from ..app import cli
    from ..main import COMPLETE

    kind = get_completion_class(shell)
    if kind is None:  # click dropped a shell that we offer
        raise InhouseError(f"no completion for {shell}", hint="Use bash, zsh or fish.")
    output.data(kind(cli, {}, "inhouse", COMPLETE).source().strip())
