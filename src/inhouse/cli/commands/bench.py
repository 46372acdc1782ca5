"""``inhouse bench``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from ... import config
from ...core.errors import BadRequest
from .. import output, pulling, server
from ..base import HELP, Command, complete_model, json_option

_COLUMNS = ("CLIENTS", "PREFILL", "DECODE", "TTFT", "BETWEEN", "ALL", "ANSWERED")


@click.command(
    "bench",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse bench smollm2
    inhouse bench smollm2 --clients 1,2,4,8 --save before.json
    inhouse bench smollm2 --compare before.json --plot now.svg
    inhouse bench smollm2 --against wheel
    inhouse bench smollm2 --against http://127.0.0.1:8080 --task copy --chat
    """,
)
@click.argument("model", shell_complete=complete_model)
@click.option("--clients", default="1,4", help="How many send at once, comma-separated.", show_default=True)
@click.option("--prompt", default=512, type=click.IntRange(1), help="Tokens of a prompt.", show_default=True)
@click.option("--tokens", default=128, type=click.IntRange(1), help="Tokens of an answer.", show_default=True)
@click.option("--rounds", default=3, type=click.IntRange(1, 1000), help="How often each.", show_default=True)
@click.option("--task", default="text", type=click.Choice(["text", "copy"]), help="What is asked for.")
@click.option("--chat", is_flag=True, help="Ask as a conversation, not with raw text.")
@click.option("--shared", is_flag=True, help="Let prompts begin alike, so that the prompt cache helps.")
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there.")
@click.option(
    "--compare", type=click.Path(dir_okay=False, path_type=Path),
    help="Compare with figures that --save wrote.",
)  # fmt: skip
@click.option("--against", default="", help="A build of the engine, or the URL of a server on this machine.")
@click.option("--there", default="", help="What that server calls the model.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw a picture (SVG).")
@json_option
def command(
    model: str, save: Path | None, compare: Path | None, plot: Path | None, as_json: bool, **wanted: Any
) -> None:
    """Measure how fast MODEL answers.

    How fast prompts are read and tokens written, and when the first comes, for one to many clients. No two
    prompts begin alike, unless --shared. Figures are medians, with the middle 80 % of them in brackets. With
    --against the two take turns, so that what disturbs one disturbs the other; with --compare the runs lie
    apart, and the brackets hold all that both spreads allow.
    """
    body: dict[str, Any] = {"model": model, **wanted, "clients": _clients(wanted["clients"])}
    body = {key: value for key, value in body.items() if value not in ("", False)}
    if compare is not None:
        body["before"] = _read(compare)
    if plot is not None:
        body["plot"] = True
    client = server.connect(config.load(os.environ))
    last = pulling.job(client, "/api/bench", body, "Nothing was kept; try again.", steps=True)
    result = dict(last.get("result") or {})
    if plot is not None:
        plot.write_text(str(result.pop("svg", "")), encoding="utf-8")
    if save is not None:
        save.write_text(json.dumps(result["figures"], indent=2) + "\n", encoding="utf-8")
    if as_json:
        output.json_data(result)
        return
    _print(result)


def _clients(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise BadRequest(
            f"'{text[:40]}' are no numbers of clients", hint="For instance: --clients 1,2,4,8"
        ) from None


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadRequest(
            f"{path.name} holds no figures", hint="Give a file that inhouse bench --save wrote."
        ) from error


def _print(result: dict[str, Any]) -> None:
    figures = result["figures"]
    about = figures["about"]
    output.data(f"{figures['model']} with {about.get('build', 'its engine')}, on {about['machine']}")
    output.data(_table(figures))
    other = result.get("against")
    if other:
        output.data(f"\n{other['name']}")
        output.data(_table(other["figures"]))
    if result.get("ratios"):
        output.data(f"\nTimes as fast as {other['name'] if other else 'before'}")
        rows = [
            (str(row["clients"]), *(_times(row[name]) for name in ("prefill", "decode", "ttft", "total")))
            for row in result["ratios"]
        ]
        output.data(output.table(("CLIENTS", "PREFILL", "DECODE", "TTFT", "ALL"), rows))
    output.note("Tokens a second; TTFT and BETWEEN (two texts of a stream) are seconds.")
    for reason in result.get("disturbed") or ():
        output.note(f"Disturbed: {reason}", colour="yellow")


def _table(figures: dict[str, Any]) -> str:
    return output.table(_COLUMNS, [_row(level) for level in figures["levels"]])


def _row(level: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(level["clients"]),
        _spread(level["prefill"], 1),
        _spread(level["decode"], 1),
        _spread(level["ttft"], 2),
        _spread(level["itl"], 3),
        _spread(level["total"], 1),
        f"{level['answer_tokens']} tokens" + _guessed(level),
    )


def _guessed(level: dict[str, Any]) -> str:
    drafted = level.get("drafted_tokens") or 0
    return f", {level.get('accepted_tokens', 0)} of {drafted} guesses right" if drafted else ""


def _spread(value: dict[str, Any], digits: int) -> str:
    if not value["count"]:
        return "-"
    return f"{value['median']:.{digits}f} ({value['low']:.{digits}f}..{value['high']:.{digits}f})"


def _times(value: dict[str, Any]) -> str:
    return _spread(value, 2)
