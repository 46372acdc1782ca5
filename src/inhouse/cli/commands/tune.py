"""``inhouse tune``."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from ... import config
from .. import output, pulling, server
from ..base import HELP, Command, complete_model, json_option


@click.command(
    "tune",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse tune smollm2
    inhouse tune smollm2 --quick
    inhouse tune smollm2 --show
    inhouse tune smollm2 --forget
    """,
)
@click.argument("model", shell_complete=complete_model)
@click.option("--quick", is_flag=True, help="Try only what tells most.")
@click.option("--minutes", type=click.IntRange(1, 1440), help="How long it may take: 15, with --quick 5.")
@click.option("--show", is_flag=True, help="Show what was found.")
@click.option("--forget", is_flag=True, help="Go back to the defaults.")
@json_option
def command(model: str, *, quick: bool, minutes: int | None, show: bool, forget: bool, as_json: bool) -> None:
    """Find what MODEL runs best with here.

    It is measured, kept and used from now on.

    Threads, batch sizes, flash attention, cache types, memory mapping, slots and ways of guessing tokens
    are tried one after the other, in turns with the best so far; only what is faster beyond chance is taken,
    and nothing that costs quality. It holds for these weights, this build of the engine and this machine.
    What you set yourself comes first.

    The model is loaded twice for it, beside what is loaded. Ctrl-C ends it and keeps nothing.
    """
    client = server.connect(config.load(os.environ))
    if forget:
        gone = client.call("POST", "/api/tune/forget", {"model": model})["forgotten"]
        output.note(f"Forgot {gone} tuning{'' if gone == 1 else 's'} of {model}.")
        return
    if show:
        found = client.call("POST", "/api/tune/show", {"model": model})
        _show(found, as_json)
        return
    body: dict[str, Any] = {"model": model, "quick": quick} | ({"minutes": minutes} if minutes else {})
    last = pulling.job(client, "/api/tune", body, "Nothing was kept; try again.", steps=True)
    result = dict(last.get("result") or {})
    if as_json:
        output.json_data(result)
        return
    _print(result)
    if result.get("disturbed"):
        output.note("Other requests ran meanwhile; their rounds were not counted.", colour="yellow")
    for reason in result.get("busy") or ():
        output.note(f"{reason} In quiet something else may be best: tune again then.", colour="yellow")
    output.note("A model that is loaded is run so once it is loaded again: inhouse stop " + model)


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.json_data(found)
        return
    if not found["tunings"]:
        output.note(f"{found['model']} was not tuned. Do it with: inhouse tune {found['model']}")
    for one in found["tunings"]:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one["at"]))
        state = "in use" if one["used"] else "for another build or machine"
        output.data(f"{one['model']}, {one['build']}, {when}: {state}")
        _print(one)
    if found["settled"]:
        output.note(f"Set by you or the model, so never tuned: {', '.join(found['settled'])}")


def _print(one: dict[str, Any]) -> None:
    rows = [(trial["what"], _gain(trial), str(trial["rounds"]), trial["outcome"]) for trial in one["trials"]]
    output.data(output.table(("TRIED", "TIMES AS FAST", "ROUNDS", "OUTCOME"), rows))
    chosen = ", ".join(f"{name} {value}" for name, value in one["tuned"].items())
    output.data(f"\nTaken: {chosen or 'nothing, the defaults are best'}")
    gains = ", ".join(f"{name} {gain:.2f}" for name, gain in one["gains"].items())
    if gains:
        output.data(f"Times as fast as the defaults: {gains}")


def _gain(trial: dict[str, Any]) -> str:
    if not trial["rounds"]:
        return "-"
    return f"{trial['gain']:.2f} ({trial['low']:.2f}..{trial['high']:.2f})"
