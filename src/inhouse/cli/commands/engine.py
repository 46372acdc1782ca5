"""``inhouse engine``: builds of the engines that run models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ... import config
from ...core.errors import BadRequest
from .. import output, pulling, server
from ..base import HELP, Command, Examples, complete_model, json_option
from ..client import Client


class Group(Examples, click.Group):
    """Commands below a command."""


@click.group(
    "engine",
    cls=Group,
    context_settings=HELP,
    examples="""
    inhouse engine list
    inhouse engine build
    inhouse engine install cuda-13
    inhouse engine bench
    inhouse engine use auto
    """,
)
def command() -> None:
    """See, get, measure and choose the programs that run models.

    Models are run by the best build that works on this machine: one for its GPU, else the fastest as
    measured, else the one that comes with Inhouse. What is fetched is verified by its digest first.
    """


def _client() -> Client:
    return server.connect(config.load(os.environ))


def _job(path: str, body: dict[str, Any], again: str) -> dict[str, Any]:
    result = pulling.job(_client(), path, body, again, steps=True).get("result")
    return dict(result or {})


_version = click.option("--version", default="", help="Another version than the one of the list.")
_sha256 = click.option("--sha256", multiple=True, help="Digest of the file; once for each file.")
_from = click.option(
    "--from", "files", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take this archive instead of fetching one; once for each file.",
)  # fmt: skip
_jobs = click.option("--jobs", default=0, type=click.IntRange(0, 1024), help="Compilers at once.")
_tools = click.option("--with-tools", is_flag=True, help="Fetch CMake and Ninja if they are missing.")


@command.command(
    "list",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse engine list
    inhouse engine list --json
    """,
)
@json_option
def list_(as_json: bool) -> None:
    """Show the builds that are here, best first, and those to be had.

    Also why one is used or not, and what it cannot do.
    """
    answer = _client().get("/api/engines", timeout=120.0)
    if as_json:
        output.json_data(answer)
        return
    rows = [
        (_mark(one), one["name"], one["version"] or "-", _speed(one), _note(one)) for one in answer["builds"]
    ]
    output.data(output.table(("", "BUILD", "VERSION", "SPEED", "NOTE"), rows))
    for one in answer["engines"]:
        state = "can be used" if one["ok"] else one["why"]
        output.data(f"\nEngine {one['name']}: {state}." + (f" Fix: {one['fix']}" if one["fix"] else ""))
    fitting = [one for one in answer["available"] if not one["why_not"]]
    if fitting:
        output.data("\nTo be had: inhouse engine install NAME\n")
        output.data(output.table(("BUILD", "VERSION", "WHAT"), [_offer(one) for one in fitting]))
    if hidden := len(answer["available"]) - len(fitting):
        output.note(f"{hidden} more do not fit this machine; --json tells why.")


def _mark(one: dict[str, Any]) -> str:
    return "*" if one["chosen"] else ""


def _speed(one: dict[str, Any]) -> str:
    return f"{one['speed']:.2f}x" if one["speed"] is not None else "-"


def _note(one: dict[str, Any]) -> str:
    if not one["ok"]:
        return f"not used: {one['why_not']}. {one['fix']}".strip()
    because = str(one["because"])
    lost = f"; it has no {' or '.join(one['loses'])} grammars, for which another build is loaded"
    return because + (lost if one["loses"] else "") + ("; in use" if one["in_use"] else "")


def _offer(one: dict[str, Any]) -> tuple[str, str, str]:
    took = f", about {one['minutes']} minutes" if one["minutes"] else ""
    size = f", {output.human_size(one['download'])} to download" if one["download"] else ""
    return one["name"], one["version"], one["inside"] + took + size


@command.command(
    "install",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse engine install cuda-13
    inhouse engine install vulkan --version b11600
    inhouse engine install native
    inhouse engine install cpu --from llama-b11549-bin-ubuntu-x64.tar.gz --sha256 HEX
    """,
)
@click.argument("name")
@_version
@_sha256
@_from
@click.option("--anyway", is_flag=True, help="Install it although it does not fit what was found here.")
@_jobs
@_tools
def install(name: str, files: tuple[Path, ...], **options: Any) -> None:
    """Get the build NAME: fetched or compiled, verified, tried, and used if it is the best.

    Its digest comes from the list or its publisher, else from you: --sha256. With --from you bring the
    archive yourself, for machines without a network; any llama-server can come in so, under a name of
    your own. Where a native build comes from see: inhouse engine build --help
    """
    _install("/api/engines/install", {"name": name, **options}, files)


@command.command(
    "build",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse engine build
    inhouse engine build --jobs 1
    """,
)
@_jobs
@_tools
@_from
def build(files: tuple[Path, ...], **options: Any) -> None:
    """Compile llama.cpp for this machine's own CPU.

    Its sources come from the package index, out of the source distribution of xllamacpp (MIT), whose
    digest is known. It needs a C++ compiler and CMake, and takes about eight minutes on two cores. Then it
    is measured against the build that comes with Inhouse, and used if it is faster.
    """
    _install("/api/engines/build", {"name": "native", **options}, files)


def _install(path: str, options: dict[str, Any], files: tuple[Path, ...]) -> None:
    body = {key: value for key, value in options.items() if value}
    body |= {"sha256": list(body.get("sha256", ()))} if "sha256" in body else {}
    if files:
        body["files"] = [str(file.absolute()) for file in files]
    found = _job(path, body, "Nothing was kept; try again.")
    name = found.get("installed")
    if found.get("chosen"):
        output.data(f"{name} is installed and runs models from now on: {found['because']}.")
    else:
        output.data(f"{name} is installed. {found['engine']} runs models; of {name}: {found['because']}.")
    if found.get("not_measured"):
        output.note(f"It was not measured: {found['not_measured']}")
    output.note("Models that are loaded keep their build until they are loaded again.")


@command.command(
    "use",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse engine use wheel
    inhouse engine use auto
    """,
)
@click.argument("name")
def use(name: str) -> None:
    """Let the build NAME run all models that name none; auto goes back to the best."""
    found = _client().call("POST", "/api/engines/use", {"name": name})
    output.data(f"{found['engine']} runs models from now on.")


@command.command(
    "remove",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse engine remove native
    """,
)
@click.argument("name")
@click.option("--force", is_flag=True, help="Remove it although models run on it.")
def remove(name: str, force: bool) -> None:
    """Delete an installed build."""
    _client().call("POST", "/api/engines/remove", {"name": name, "force": force})
    output.note(f"Removed {name}.")


@command.command(
    "bench",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse engine bench
    inhouse engine bench qwen2.5-coder:0.5b --rounds 10
    """,
)
@click.argument("model", required=False, default="", shell_complete=complete_model)
@click.option("--build", "builds", multiple=True, help="Only this one; once for each.")
@click.option("--rounds", default=0, type=click.IntRange(0, 100), help="How often each is asked.")
@json_option
def bench(model: str, builds: tuple[str, ...], rounds: int, as_json: bool) -> None:
    """Measure builds against the one that comes with Inhouse, in turns, and keep the figures.

    MODEL is one that is here; without it the smallest. The fastest build is used from then on.
    """
    body: dict[str, Any] = {"builds": list(builds)}
    body |= {key: value for key, value in (("model", model), ("rounds", rounds)) if value}
    found = _job("/api/engines/bench", body, "Try again.")
    if "builds" not in found:
        raise BadRequest("the server's answer is not a measurement", hint="Is it an older server?")
    if as_json:
        output.json_data(found)
        return
    rows = [
        (
            one["build"],
            f"{one['prefill']:.1f}",
            f"{one['decode']:.1f}",
            _times(one, "times_prefill"),
            _times(one, "times_decode"),
        )
        for one in found["builds"]
    ]
    header = ("BUILD", "PREFILL T/S", "DECODE T/S", "PREFILL", "DECODE")
    output.data(output.table(header, rows))
    output.note(f"Measured with {found['model']}; {found['engine']} runs models.")


def _times(one: dict[str, Any], name: str) -> str:
    return f"{one[name]:.2f}x" if name in one else "1"
