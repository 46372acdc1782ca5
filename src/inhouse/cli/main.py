"""The way in and the only way out: exit codes, errors as two lines, broken pipes without noise.

Nothing heavy is imported before it is known what is asked: ``--version`` costs the interpreter alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..core.errors import InhouseError

OK, FAILURE, USAGE, NOT_FOUND, UNREACHABLE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 4, 130, 141
COMPLETE = "_INHOUSE_COMPLETE"  # click's protocol with the shells


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (``sys.argv`` unless given) and return its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    _prepare_streams()
    try:
        code = _version() if args in (["--version"], ["-V"]) else _run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # The reader of our output has gone, or its disk is full. Sockets never come here: the client
        # translates theirs.
        _silence()
        if not _is_broken_pipe(error):
            return _report("the output could not be written", detail=str(error))
        return BROKEN_PIPE


def _version() -> int:
    from .. import __version__

    print(f"inhouse {__version__}")
    return OK


def _run(args: list[str]) -> int:
    import click
    import click.shell_completion

    from ..core.errors import InhouseError
    from .app import cli

    try:
        if asked := os.environ.get(COMPLETE):
            return click.shell_completion.shell_complete(cli, {}, "inhouse", COMPLETE, asked)
        # Not cli.main(): it swallows broken pipes and, on Windows, expands * in prompts.
        with cli.make_context("inhouse", args) as context:
            cli.invoke(context)
        return OK
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "inhouse"
        return _report(error.format_message(), hint=f"{where} --help", code=USAGE)
    except click.ClickException as error:
        return _report(error.format_message())
    except InhouseError as error:
        return report(error)
    except OSError:
        raise
    except Exception as error:
        # The last wall: a person at a terminal gets a sentence; `python -X dev` gets the traceback.
        if sys.flags.dev_mode:
            raise
        return _report(
            f"this should not have happened: {type(error).__name__}",
            detail=str(error),
            hint=f"Please report it with the output of: python -X dev -m inhouse {' '.join(args[:1])} ...",
        )


def report(error: InhouseError) -> int:
    """Print an error of ours on stderr and return the exit code that belongs to it."""
    from ..core.errors import BadRequest, NotFound, ServerUnreachable

    codes: list[tuple[type[InhouseError], int]] = [
        (NotFound, NOT_FOUND),
        (ServerUnreachable, UNREACHABLE),
        (BadRequest, USAGE),
    ]
    code = next((code for kind, code in codes if isinstance(error, kind)), FAILURE)
    return _report(error.message, detail=error.detail, hint=error.hint, code=code)


def _report(message: str, *, detail: str = "", hint: str = "", code: int = FAILURE) -> int:
    from . import output

    output.note(f"Error: {message}", colour="red")
    for line in detail.splitlines():
        output.note(f"  {line}")
    if hint:
        output.note(f"Hint: {hint}")
    return code


def _prepare_streams() -> None:
    """Closed streams become null; text that a terminal cannot show becomes ``?``, not an exception."""
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (lives till exit)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _is_broken_pipe(error: OSError) -> bool:
    """Windows says EINVAL (22) where others say EPIPE."""
    return isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == 22)


def _silence() -> None:
    """Point stdout at nothing, so that the flush at interpreter exit cannot complain again."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, sys.stdout.fileno())
    except (OSError, ValueError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (lives till exit)
    finally:
        os.close(null)
