"""``inhouse serve``: the one command that is no client."""

from __future__ import annotations

import os
from typing import Any

import click

from ... import config
from ...core.errors import BadRequest
from .. import output
from ..base import HELP, Command


@click.command(
    "serve",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse serve
    inhouse serve --port 8080 --keep-alive 1h
    INHOUSE_API_KEY=... inhouse serve --host 0.0.0.0
    inhouse serve --set fleet.max_queue=64 --set log.format=json
    inhouse serve --context 8192 --slots 8
    """,
)
@click.option("--host", metavar="HOST", help="Address to listen on (default: loopback).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on (default: 11435).")
@click.option("--idle-exit", metavar="DUR", help="Exit after so long without a request; 0: never.")
@click.option("--keep-alive", metavar="DUR", help="How long an idle model stays loaded.")
@click.option("--context", metavar="N", help="Context length of a slot, in tokens.")
@click.option("--slots", metavar="N", help="Requests that a model runs at once.")
@click.option("--memory", metavar="SIZE", help="Memory for models, like 12GiB.")
@click.option("--engine", metavar="KIND", help="auto, wheel, native or fake.")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
@click.option(
    "--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Any setting of inhouse config."
)
@click.option("--background", is_flag=True, help="Take a free port when the usual one is busy.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    host: str | None,
    port: int | None,
    assignments: tuple[str, ...],
    background: bool,
    **flags: Any,
) -> None:
    """Run the server until it is stopped.

    It listens on loopback only, unless told otherwise. Ctrl-C or SIGTERM lets running requests
    finish; a second one does not wait.
    """
    from ...compose import serve

    names = {
        "idle_exit": "server.idle_exit",
        "keep_alive": "fleet.keep_alive",
        "context": "engine.context_length",
        "slots": "engine.slots",
        "memory": "fleet.memory",
        "engine": "engine.kind",
        "log_level": "log.level",
    }
    chosen: dict[str, Any] = dict(map(_assignment, assignments))
    chosen |= {names[name]: value for name, value in flags.items() if value is not None}
    if host is not None or port is not None:
        chosen["server.host"] = address(config.load(os.environ).server.host, host, port)
    settings = config.load(os.environ, chosen)
    for name, meant in config.strangers(os.environ).items():
        hint = f"; did you mean {meant}?" if meant else "; list them: inhouse config"
        output.note(f"{name} is no setting and changes nothing{hint}", colour="yellow")
    ctx.exit(serve(settings, background=background))


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BadRequest(f"{text[:40]!r} is not NAME=VALUE", hint="For example: --set fleet.max_queue=64")
    return name, value


def address(base: str, host: str | None, port: int | None) -> str:
    """``base`` with another host, another port, or both."""
    if host is not None and host.count(":") > 1 and "]" not in host:
        host = f"[{host}]"  # a bare IPv6 address
    its_host, its_port = config.listen(base if host is None else host)
    if host is not None and not _has_port(host):
        its_port = config.listen(base)[1]
    if port is not None:
        its_port = port
    return f"[{its_host}]:{its_port}" if ":" in its_host else f"{its_host}:{its_port}"


def _has_port(host: str) -> bool:
    return host.rpartition("]")[2].count(":") == 1
