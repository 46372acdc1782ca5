"""The root command: names of commands and the modules that hold them, imported when called."""

from __future__ import annotations

import importlib

import click

from .base import HELP, Command, Examples

_MODULES = {
    "run": "run",
    "serve": "serve",
    "pull": "pull",
    "push": "push",
    "create": "create",
    "quantize": "quantize",
    "convert": "convert",
    "list": "list",
    "ps": "ps",
    "show": "show",
    "stop": "stop",
    "cp": "cp",
    "alias": "alias",
    "rm": "rm",
    "export": "export",
    "import": "import_",
    "lock": "lock",
    "outdated": "outdated",
    "diff": "diff",
    "update": "update",
    "rollback": "rollback",
    "verify": "verify",
    "du": "du",
    "prune": "prune",
    "doctor": "doctor",
    "plan": "plan",
    "engine": "engine",
    "bench": "bench",
    "tune": "tune",
    "events": "events",
    "why": "why",
    "config": "config",
    "completion": "completion",
}
_ALIASES = {"ls": "list"}


class LazyGroup(Examples, click.Group):
    """A group that knows its commands by name and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Command | None:
        module = _MODULES.get(_ALIASES.get(cmd_name, cmd_name))
        if module is None:
            return None
        command: Command = importlib.import_module(f".commands.{module}", __package__).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            raise click.exceptions.NoSuchCommand(name, possibilities=[*_MODULES, *_ALIASES], ctx=ctx)
        return super().resolve_command(ctx, args)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from .. import __version__

        click.echo(f"inhouse {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings=HELP,
    invoke_without_command=True,
    examples="""
    inhouse run smollm2 "Why is the sky blue?"
    inhouse run smollm2
    git diff | inhouse run smollm2 "Review this change."
    inhouse list
    inhouse doctor
    """,
)
@click.option(
    "-V", "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
    help="Print the version and exit.",
)  # fmt: skip
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Run AI models where the data already is.

    Every command but serve and config talks to a server: the one at INHOUSE_HOST, or one of this
    machine, which is started in the background when none runs and goes away when idle.

    Data goes to stdout, everything else to stderr.

    \b
    Exit codes:
      0    done
      1    it failed
      2    the command line, a setting or a value is wrong
      3    no such model
      4    no server answers and none could be started
      130  interrupted with Ctrl-C
      141  the reader of the output went away
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
