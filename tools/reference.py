"""Write the reference pages that are made from code: docs/reference/cli.md and config.md.

usage: python tools/reference.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from inhouse.cli.app import cli
from inhouse.cli.commands.config import markdown

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
WIDTH = 96


def help_of(command: click.Command, name: str, parent: click.Context | None = None) -> str:
    """The help text as a terminal of a fixed width shows it."""
    context = click.Context(command, parent, name, terminal_width=WIDTH, max_content_width=WIDTH, **_HELP)
    return command.get_help(context)


_HELP = {"help_option_names": ["-h", "--help"]}


def commands() -> str:
    """The page of the command line."""
    root = click.Context(cli, info_name="inhouse")
    parts = ["# Command line", f"```text\n{help_of(cli, 'inhouse')}\n```"]
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        assert command is not None
        parts.append(f"## inhouse {name}\n\n```text\n{help_of(command, name, root)}\n```")
        below = command.commands if isinstance(command, click.Group) else {}
        context = click.Context(command, root, name)
        for inner, one in below.items():
            parts.append(f"### inhouse {name} {inner}\n\n```text\n{help_of(one, inner, context)}\n```")
    return "\n\n".join(parts) + "\n"


def pages() -> dict[Path, str]:
    """Every page with its text."""
    return {FOLDER / "cli.md": commands(), FOLDER / "config.md": markdown()}


def main() -> int:
    check, stale = "--check" in sys.argv[1:], 0
    for path, text in pages().items():
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale += 1
        print(f"{'stale' if check else 'wrote'}: {path.name}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
